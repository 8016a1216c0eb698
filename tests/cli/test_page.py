"""What docs/cli.md shows is run, in its order, and all that there is to run is on it."""

import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from chorus_client.cli.app import create_app
from tests.cli.conftest import Chorus
from tests.cli.page import PAGE, commands_shown, run_shown

pytestmark = pytest.mark.xdist_group("cli")  # one gateway for all of them


def commands(group: Any, path: str = "") -> dict[str, Any]:
    """Every command by its words."""
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            found |= commands(command, f"{path}{name} ")
        else:
            found[path + name] = command
    return found


@pytest.mark.usefixtures("key")
def test_what_the_page_shows_works(chorus: Chorus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    chorus("tenants", "create", "demo")

    def run(arguments: list[str]) -> int:
        ended = chorus(*arguments)
        assert ended.err == ""
        return ended.status

    run_shown(commands_shown(), run, monkeypatch, tmp_path)


def test_every_command_is_on_the_page() -> None:
    page = PAGE.read_text()
    known = commands(get_command(create_app()))
    assert len(known) > 40
    missing = [words for words in known if not re.search(rf"(chorus )?\b{words}\b|`{words.split()[-1]}\b", page)]
    assert not missing


def test_every_command_says_what_it_does() -> None:
    """In one line, and each of its options too."""
    for words, command in commands(get_command(create_app())).items():
        assert command.help, words
        assert not [each.name for each in command.params if each.name != "help" and not _told(each)], words


def _told(parameter: Any) -> bool:
    return bool(getattr(parameter, "help", None) or getattr(parameter, "metavar", None))
