"""The first command on a fresh machine, where things are missing."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from scripts import bootstrap
from scripts.stack.config import ROOT

FIND = ROOT / "scripts" / "find-python"


def find_python(path: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": str(path), **environment}
    return subprocess.run(
        ["/bin/sh", str(FIND)], env=environment, capture_output=True, text=True, timeout=30, check=False
    )


def executable(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("name", ["python3.11", "python3.12", "python3"])
def test_a_python_is_found_under_its_usual_names(tmp_path: Path, name: str) -> None:
    executable(tmp_path, name, f'exec {sys.executable} "$@"')
    assert find_python(tmp_path).stdout.strip() == sys.executable


def test_a_python_that_does_not_start_is_passed_over(tmp_path: Path) -> None:
    executable(tmp_path, "python3.11", "exit 127")
    executable(tmp_path, "python3.12", f'exec {sys.executable} "$@"')
    assert find_python(tmp_path).stdout.strip() == sys.executable


def test_no_python_that_fits_is_one_sentence(tmp_path: Path) -> None:
    for name in ("python3.11", "python3.12", "python3", "python"):
        executable(tmp_path, name, "exit 1")  # as one of another version answers
    found = find_python(tmp_path)
    assert found.returncode == 2
    assert "Python 3.11 or 3.12" in found.stderr
    assert found.stderr.count("\n") == 1


def test_a_chosen_python_of_another_version_is_refused(tmp_path: Path) -> None:
    chosen = executable(tmp_path, "mine", "exit 1")
    found = find_python(tmp_path, PYTHON=str(chosen))
    assert found.returncode == 2
    assert str(chosen) in found.stderr


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("error: command 'gcc' failed: No such file or directory", "C compiler"),
        ("error: [Errno 2] No such file or directory: 'gcc'", "C compiler"),
        ("WARNING: Retrying ... Temporary failure in name resolution\nERROR: No matching distribution", "network"),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: No matching distribution found for torch==2.13.0", "No matching distribution found for torch==2.13.0"),
        ("", "said nothing"),
    ],
)
def test_a_failed_installation_is_one_sentence(output: str, said: str) -> None:
    sentence = bootstrap.failure(output.splitlines())
    assert said in sentence
    assert "\n" not in sentence


def test_what_is_installed_is_not_installed_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran: list[str] = []
    monkeypatch.setattr(bootstrap, "VENV", tmp_path)
    monkeypatch.setattr(bootstrap, "LOG", tmp_path / "setup.log")
    monkeypatch.setattr(bootstrap, "create_venv", lambda: ran.append("venv"))
    monkeypatch.setattr(bootstrap, "pip_install", lambda arguments, step: ran.append(arguments[-1]))
    bootstrap.main(["up"])
    assert ran[0] == "venv"
    assert any(argument.startswith("torch==") for argument in ran)
    ran.clear()
    bootstrap.main(["up"])
    assert ran == []
    bootstrap.main(["up", "dev"])  # another group is missing
    assert ran
    ran.clear()
    monkeypatch.setenv("CHORUS_PIP_ARGS", "--pre")
    bootstrap.main(["up"])  # from other sources than before
    assert ran


def test_the_command_is_installed_with_its_packages_pinned() -> None:
    arguments = bootstrap._installs(["up"])[-1][1]
    assert str(ROOT / "client") + "[cli]" in arguments
    project = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())["project"]
    assert project["scripts"]["chorus"] == "chorus_client.cli:main"
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert {requirement.partition(">")[0] for requirement in project["optional-dependencies"]["cli"]} <= pinned
