import json
from pathlib import Path

import pytest

from tests.cli.conftest import MODEL, Chorus, write_adapter

pytestmark = pytest.mark.xdist_group("cli")  # one gateway for all of them


def test_a_push_tells_what_was_found_in_it(chorus: Chorus, tenant: str, folder: Path) -> None:
    pushed = chorus("adapters", "push", str(folder), "--tenant", tenant, "--name", "sql")
    shown = dict(line.split("\t") for line in pushed.out.splitlines())
    assert (pushed.status, pushed.err) == (0, "")
    assert (shown["adapter"], shown["generation"], shown["state"]) == (f"{tenant}/sql", "1", "published")
    assert int(shown["rank"]) > 0
    assert "q_proj" in shown["modules"]
    again = chorus("adapters", "push", str(folder), "--tenant", tenant, "--name", "sql", "-o", "json")
    assert (again.status, json.loads(again.out)["created"], json.loads(again.out)["generation"]) == (0, False, 1)


def test_a_bad_adapter_is_one_sentence(chorus: Chorus, tenant: str, folder: Path, tmp_path: Path) -> None:
    refused = chorus("adapters", "push", str(folder), "--tenant", tenant, "--name", "No Name")
    assert (refused.status, refused.out) == (1, "")
    assert refused.err.startswith("chorus: name: ")
    assert refused.err.count("\n") == 1
    (folder / "adapter_model.safetensors").unlink()
    missing = chorus("adapters", "push", str(folder), "--tenant", tenant, "--name", "sql")
    assert missing.status == 1
    assert missing.err == f"chorus: {folder}/adapter_model.safetensors: No such file or directory.\n"
    nowhere = chorus("adapters", "push", str(tmp_path / "none"), "--tenant", tenant, "--name", "sql")
    assert (nowhere.status, nowhere.err.count("\n")) == (2, 1)


def test_an_adapter_from_push_to_delete(chorus: Chorus, tenant: str, tmp_path: Path) -> None:
    for seed in (1, 2):
        folder = write_adapter(tmp_path / str(seed), seed)
        assert chorus("adapters", "push", str(folder), "--tenant", tenant, "--name", "sql").status == 0
    name = f"{tenant}/sql"
    assert [row[:2] for row in chorus("adapters", "list", "--tenant", tenant).rows] == [[name, "2"], [name, "1"]]
    assert chorus("adapters", "alias", name, "prod", "1", "--canary", "2", "--percent", "25").rows[0][1:] == [
        "1",
        "2 (25%)",
    ]
    assert json.loads(chorus("adapters", "show", f"{name}:prod", "-o", "json").out)["generation"] == 1
    assert chorus("adapters", "show", f"{name}:2", "-o", "json").status == 0
    unknown = chorus("adapters", "show", f"{name}:none")
    assert (unknown.status, unknown.err) == (1, f"chorus: {name} has no alias 'none', only latest, prod.\n")
    target = tmp_path / "back"
    assert chorus("adapters", "pull", f"{name}:prod", str(target)).status == 0
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        assert (target / file).read_bytes() == (tmp_path / "1" / file).read_bytes()
    assert chorus("adapters", "alias", name, "prod", "--remove").status == 0
    assert chorus("adapters", "retire", f"{name}:1", "--reason", "slow").status == 0
    assert chorus("adapters", "delete", name).out == "2 generations deleted.\n"
    assert chorus("adapters", "restore", name).out == "2 generations restored.\n"
    states = [row[2] for row in chorus("adapters", "history", name).rows]
    assert {"published", "retired", "deleted"} <= set(states)


def test_pins(chorus: Chorus, tenant: str, folder: Path) -> None:
    chorus("adapters", "push", str(folder), "--tenant", tenant, "--name", "sql")
    assert chorus("adapters", "pin", "sql", "--tenant", tenant, "--engines", "1").status == 0
    assert [row[:4] for row in chorus("adapters", "pins", "--tenant", tenant).rows] == [
        [f"{tenant}/sql", "latest", "gpu", "1"]
    ]
    assert chorus("adapters", "unpin", f"{tenant}/sql").status == 0
    gone = chorus("adapters", "unpin", f"{tenant}/sql")
    assert (gone.status, "not pinned" in gone.err) == (1, True)


def test_a_tenants_key_manages_its_own(
    chorus: Chorus, tenant: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = json.loads(chorus("keys", "create", "--tenant", tenant, "--scope", "adapters", "-o", "json").out)
    monkeypatch.delenv("CHORUS_ADMIN_KEY")
    monkeypatch.setenv("CHORUS_API_KEY", made["key"])
    assert chorus("adapters", "push", str(folder), "--tenant", tenant, "--name", "sql", "--model", MODEL).status == 0
    other = chorus("adapters", "push", str(folder), "--tenant", "another", "--name", "sql", "--model", MODEL)
    assert (other.status, tenant in other.err) == (1, True)
    admin = chorus("tenants", "list")
    assert (admin.status, "CHORUS_ADMIN_KEY" in admin.err) == (2, True)
