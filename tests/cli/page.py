"""docs/cli.md as a list of commands."""

import io
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "cli.md"


def commands_shown(tenant: str = "studio") -> list[str]:
    """Of its shell blocks, in their order, about this tenant."""
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```$", PAGE.read_text())
    lines = [line for block in blocks for line in block.splitlines()]
    return [line.replace("studio", tenant) for line in lines if not line.startswith("set -a")]


def run_shown(lines: list[str], run: Callable[[list[str]], int], monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Each with status 0, in a folder that has the examples. What is piped into one is its standard input."""
    monkeypatch.chdir(folder)
    (folder / "examples").symlink_to(ROOT / "examples")
    for line in lines:
        asked, _, command = line.rpartition(" | ")
        if asked:
            monkeypatch.setattr("sys.stdin", io.StringIO(asked.removeprefix("echo ")))
        program, *arguments = shlex.split(command)
        assert program == "chorus"
        assert run(arguments) == 0, line
