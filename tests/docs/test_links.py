import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.docs.pages import DOCS, PAGES, ROOT, anchors, prose

LINK = re.compile(r"\]\(([^()\s]+)\)")
DOTTED = re.compile(r"`((?:chorus_[a-z_]+|scripts)(?:\.[A-Za-z_][A-Za-z0-9_]*)+)`")
TYPE = re.compile(r"`(?:[a-z_]+\.)*([A-Z][a-z]+(?:[A-Z][a-z]*)*)(?:\.([a-z_]+))?`")
NAMED_PATH = re.compile(r"`((?:services|kernels|proto|scripts|tests|examples|docs|benchmarks)/[\w./-]+)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_inside_the_repository_lead_somewhere(page: Path) -> None:
    broken = [link for link in LINK.findall(prose(page)) if not leads_somewhere(page, link)]
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_that_a_page_names_exist(page: Path) -> None:
    missing = [path for path in NAMED_PATH.findall(prose(page)) if not (ROOT / path).exists()]
    assert not missing


def test_every_decision_is_listed() -> None:
    listed = set(LINK.findall((DOCS / "adr" / "README.md").read_text()))
    assert listed == {path.name for path in (DOCS / "adr").glob("0*.md")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_modules_that_a_page_names_exist(page: Path) -> None:
    missing = [name for name in DOTTED.findall(prose(page)) if not is_defined(name)]
    assert not missing


@pytest.mark.parametrize("page", ["request-path.md", "adapter-path.md", "architecture.md", "scheduler.md"])
def test_classes_and_methods_that_a_page_names_exist(page: str) -> None:
    named = set(TYPE.findall(prose(DOCS / page)))
    assert named
    assert not [f"{name}.{member}" for name, member in named if not is_declared(name, member)]


def leads_somewhere(page: Path, link: str) -> bool:
    if re.match(r"[a-z]+:", link):
        return True
    path, _, anchor = unquote(link).partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


def is_defined(name: str) -> bool:
    """A module, or a name in one: read, not imported, since engines need torch."""
    folders = [ROOT, *(ROOT / "services").iterdir(), ROOT / "kernels", ROOT / "proto"]
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        for folder in folders:
            stem = folder.joinpath(*parts[:count])
            module = next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.exists()), None)
            if module is not None:
                source = module.read_text()
                return all(re.search(rf"\b{part}\b", source) for part in parts[count:])
    return False


@cache
def sources() -> tuple[str, ...]:
    folders = [ROOT / folder for folder in ("services", "kernels", "proto", "scripts")]
    return tuple(
        path.read_text() for folder in folders for kind in ("py", "proto") for path in folder.rglob(f"*.{kind}")
    )


def is_declared(name: str, member: str) -> bool:
    """A class, a message or a call of that name, in a file that has the member too."""
    declared = re.compile(rf"(?m)^\s*(?:class|message|rpc|enum) {name}\b|^(?:from .* )?import .*\b{name}\b")
    return any(declared.search(source) and re.search(rf"\b{member}\b", source) for source in sources())
