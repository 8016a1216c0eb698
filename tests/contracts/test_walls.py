"""The walls that import-linter cannot express; the others stand in .importlinter."""

import ast
import itertools
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "chorus_proto": ROOT / "proto",
    "chorus_kernels": ROOT / "kernels",
    "chorus_client": ROOT / "client",
    "chorus_engine": ROOT / "services" / "engine",
    "chorus_gateway": ROOT / "services" / "gateway",
    "chorus_adapter_store": ROOT / "services" / "adapter-store",
}
STANDARD_LIBRARY = sys.stdlib_module_names
SOURCES = sorted(path for name, folder in PACKAGES.items() for path in (folder / name).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return found


def shown(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def test_triton_is_imported_only_in_triton_files() -> None:
    assert not shown([path for path in SOURCES if path.name != "triton.py" and "triton" in imported(path)])


def test_every_operation_with_a_triton_file_has_a_reference() -> None:
    operations = PACKAGES["chorus_kernels"] / "chorus_kernels"
    kernels = {path.relative_to(operations).parts[0] for path in SOURCES if path.name == "triton.py"}
    kernels.remove("launch")  # how the others are launched
    assert kernels
    assert not [name for name in kernels if not (operations / name / "reference.py").exists()]


def test_core_stands_on_the_standard_library_alone() -> None:
    core = PACKAGES["chorus_engine"] / "chorus_engine" / "core"
    strangers = {name for path in core.rglob("*.py") for name in imported(path)} - STANDARD_LIBRARY - {"chorus_engine"}
    assert not strangers


@pytest.mark.parametrize("package", ["chorus_engine", "chorus_gateway", "chorus_adapter_store"])
def test_the_environment_is_read_in_config_only(package: str) -> None:
    readers = [
        path
        for path in SOURCES
        if path.is_relative_to(PACKAGES[package])
        and path.name not in ("config.py", "main.py")  # main hands it to config
        and re.search(r"\bos\.(environ|getenv)\b", path.read_text())
    ]
    assert not shown(readers)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_distribution_is_typed_for_its_users(package: str) -> None:
    assert (PACKAGES[package] / package / "py.typed").exists()


@pytest.mark.parametrize("package", PACKAGES)
def test_a_distribution_declares_what_it_imports(package: str) -> None:
    """Else an image that holds this one alone fails at its start."""
    project = tomllib.loads((PACKAGES[package] / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *itertools.chain(*project.get("optional-dependencies", {}).values())]
    declared = {canonical(re.split(r"[\[<>=!~ ;]", requirement, maxsplit=1)[0]) for requirement in wanted}
    providers = packages_distributions()
    missing = {
        name
        for path in SOURCES
        if path.is_relative_to(PACKAGES[package] / package)
        for name in imported(path) - {package} - STANDARD_LIBRARY
        if not declared & {canonical(provider) for provider in providers.get(name, [name])}
    }
    assert not missing


def canonical(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()
