import json
import stat
from pathlib import Path

import pytest

from tests.cli.conftest import Chorus, Gateway

pytestmark = pytest.mark.xdist_group("cli")  # one gateway for all of them


def test_what_is_kept_is_used(
    chorus: Chorus, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("CHORUS_BASE_URL", "CHORUS_ADMIN_KEY"):
        monkeypatch.delenv(name)
    assert chorus("tenants", "list").status == 2
    assert chorus("config", "set", "base-url", gateway.url).status == 0
    assert chorus("config", "set", "admin-key", gateway.admin_key).status == 0
    assert chorus("tenants", "list").status == 0
    file = tmp_path / "config.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert chorus("config", "path").out == f"{file}\n"
    shown = chorus("config", "show", "-o", "json")
    assert gateway.admin_key not in shown.out
    assert {each["name"]: each["source"] for each in json.loads(shown.out)} == {
        "base-url": str(file),
        "admin-key": str(file),
    }
    monkeypatch.setenv("CHORUS_ADMIN_KEY", "chorus_wrong")
    assert chorus("tenants", "list").status == 1
    monkeypatch.delenv("CHORUS_ADMIN_KEY")
    assert chorus("config", "unset", "admin-key").status == 0
    assert chorus("tenants", "list").status == 2


def test_what_cannot_be_kept(chorus: Chorus, tmp_path: Path) -> None:
    assert chorus("config", "set", "colour", "red").status == 2
    assert chorus("config", "set", "base-url", "nonsense").status == 2
    assert chorus("config", "set", "api-key", "no key").status == 2
    assert chorus("config", "set", "api-key", "").status == 2
    assert not (tmp_path / "config.toml").exists()


@pytest.mark.parametrize("content", ["not toml", "colour = 'red'", "base-url = 3"])
def test_a_file_that_is_none(chorus: Chorus, tmp_path: Path, content: str) -> None:
    (tmp_path / "config.toml").write_text(content)
    ended = chorus("tenants", "list")
    assert (ended.status, ended.err.count("\n"), "config.toml" in ended.err) == (2, 1, True)
