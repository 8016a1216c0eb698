"""The command's page on a whole stack: real validation, a real model, a real ledger."""

import json
import shutil
import time
from pathlib import Path

import pytest

from chorus_client.cli.app import run
from tests.cli.page import ROOT, commands_shown, run_shown
from tests.support.stack import Stack

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack")]

SECONDS = 60.0


@pytest.fixture
def environment(stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CHORUS_BASE_URL", f"{stack.url}/v1")
    monkeypatch.setenv("CHORUS_ADMIN_KEY", stack.environment["CHORUS_ADMIN_KEY"])
    monkeypatch.setenv("CHORUS_API_KEY", stack.new_tenant("talking").key)
    monkeypatch.setenv("CHORUS_CONFIG", str(tmp_path / "none.toml"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.mark.usefixtures("environment")
def test_what_the_page_shows_works(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_shown(commands_shown("shell"), run, monkeypatch, tmp_path)
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("environment")
def test_an_answer_is_in_the_ledger(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["chat", "--model", "chorus-demo", "--once", "Reverse the word garden.", "--max-tokens", "4"]) == 0
    assert capsys.readouterr().out.strip()
    until = time.monotonic() + SECONDS
    while True:
        assert run(["usage", "--by", "tenant,model", "--tenant", "talking"]) == 0
        rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()[1:]]
        if rows or time.monotonic() > until:
            break
        time.sleep(0.1)
    assert rows[0][:2] == ["talking", "chorus-demo"]
    assert int(rows[0][2]) >= 1


@pytest.mark.usefixtures("environment")
def test_a_bad_adapter_is_one_sentence(stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stack.admin.ensure_tenant("pushing")
    folder = shutil.copytree(ROOT / "examples" / "demo" / "adapters" / "reverse", tmp_path / "bad")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "r": config["r"] + 1}))
    assert run(["adapters", "push", str(folder), "--tenant", "pushing"]) == 1
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n"), shown.err[:8]) == ("", 1, "chorus: ")
    assert str(config["r"] + 1) in shown.err
    assert run(["adapters", "history", "bad", "--tenant", "pushing"]) == 0
    assert "refused" in capsys.readouterr().out
