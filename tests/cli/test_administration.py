import json

import pytest

from tests.cli.conftest import Chorus

pytestmark = pytest.mark.xdist_group("cli")  # one gateway for all of them


def test_a_tenants_life(chorus: Chorus) -> None:
    made = chorus("tenants", "create", "acme", "--weight", "2", "--limit", "requests-per-minute=60", "-o", "json")
    assert (made.status, json.loads(made.out)["limits"]["requests_per_minute"]) == (0, 60)
    again = chorus("tenants", "create", "acme")
    assert (again.status, again.err.count("\n"), "acme" in again.err) == (1, 1, True)
    changed = chorus("tenants", "set", "acme", "--weight", "3", "--tier", "default,flex", "-o", "json")
    assert (json.loads(changed.out)["weight"], set(json.loads(changed.out)["tiers"])) == (3.0, {"default", "flex"})
    assert "acme" in [row[0] for row in chorus("tenants", "list").rows]
    assert json.loads(chorus("tenants", "suspend", "acme", "-o", "json").out)["suspended"] is True
    assert json.loads(chorus("tenants", "resume", "acme", "-o", "json").out)["suspended"] is False
    nothing = chorus("tenants", "set", "acme")
    assert (nothing.status, nothing.err.count("\n")) == (2, 1)
    assert chorus("tenants", "delete", "acme").status == 0
    assert chorus("tenants", "show", "acme").status == 1


def test_limits_of_a_tenant_a_key_and_an_adapters_use(chorus: Chorus, tenant: str) -> None:
    key = json.loads(chorus("keys", "create", "--tenant", tenant, "-o", "json").out)["id"]
    assert chorus("limits", "set", tenant, "tokens-per-day=1000", "budget=12.50/day").status == 0
    assert chorus("limits", "set", tenant, "requests-per-minute=5", "--key", key).status == 0
    assert chorus("limits", "set", tenant, "tokens-per-minute=100", "--adapter", f"{tenant}/sql").status == 0
    assert chorus("limits", "set", tenant, "budget=3", "--adapter", f"{tenant}/sql").status == 0
    assert sorted(chorus("limits", "show", tenant).rows) == sorted(
        [
            [tenant, "tokens-per-day", "1000"],
            [tenant, "budget", "12.50/day"],
            [f"{tenant}/sql", "tokens-per-minute", "100"],
            [f"{tenant}/sql", "budget", "3.00/month"],
            [key, "requests-per-minute", "5"],
        ]
    )
    assert chorus("limits", "remove", tenant, "--adapter", f"{tenant}/sql").status == 0
    assert chorus("limits", "set", tenant, "tokens-per-day=none", "budget=none").out == "of\tlimit\tvalue\n"
    assert [row[0] for row in chorus("limits", "show", tenant).rows] == [key]
    wrong = chorus("limits", "set", tenant, "speed=9")
    assert (wrong.status, wrong.err.count("\n"), "requests-per-minute" in wrong.err) == (2, 1, True)


def test_a_keys_life(chorus: Chorus, tenant: str) -> None:
    asked = ("--name", "ci", "--expires-in", "30d", "--model", "base@*", "--network", "10.0.0.0/8")
    made = chorus("keys", "create", "--tenant", tenant, *asked, "--scope", "infer", "--scope", "adapters", "-o", "json")
    key = json.loads(made.out)
    assert (made.status, key["scopes"], key["models"], key["networks"]) == (
        0,
        ["adapters", "infer"],
        ["base@*"],
        ["10.0.0.0/8"],
    )
    listed = chorus("keys", "list", "--tenant", tenant)
    assert [row[0] for row in listed.rows] == [key["id"]]
    assert key["key"] not in listed.out
    rotated = json.loads(chorus("keys", "rotate", key["id"], "--overlap", "1h", "-o", "json").out)
    assert rotated["key"].startswith("chorus_")
    assert rotated["id"] != key["id"]
    free = json.loads(chorus("keys", "set", rotated["id"], "--model", "all", "--name", "free", "-o", "json").out)
    assert (free["models"], free["networks"], free["name"]) == (None, ["10.0.0.0/8"], "free")
    assert json.loads(chorus("keys", "revoke", key["id"], "-o", "json").out)["revoked_at"] is not None
    shown = dict(line.split("\t") for line in chorus("keys", "create", "--tenant", tenant).out.splitlines())
    assert shown["key"].startswith(f"chorus_{shown['id']}_")


def test_an_administrators_key(chorus: Chorus, monkeypatch: pytest.MonkeyPatch) -> None:
    made = json.loads(chorus("keys", "create", "--admin", "--name", "ops", "-o", "json").out)
    assert made["tenant"] is None
    assert made["id"] in [row[0] for row in chorus("keys", "list", "--admin").rows]
    monkeypatch.setenv("CHORUS_ADMIN_KEY", made["key"])
    assert chorus("tenants", "list").status == 0
    assert chorus("keys", "revoke", made["id"]).status == 0
    refused = chorus("tenants", "list")
    assert (refused.status, refused.err.count("\n")) == (1, 1)


def test_prices(chorus: Chorus) -> None:
    made = chorus("prices", "set", "base", "--input", "0.15", "--generated", "0.60", "-o", "json")
    price = json.loads(made.out)
    assert (made.status, price["input"], price["cached"], price["output"]) == (0, "0.15", "0.15", "0.60")
    adapter = chorus(
        "prices", "set", "base", "--adapter", "acme/sql", "--input", "1", "--cached", "0.5", "--generated", "2"
    )
    assert adapter.status == 0
    assert [row[1:] for row in chorus("prices", "list").rows if row[1] == "acme/sql"] == [
        ["acme/sql", "1.00", "0.50", "2.00"]
    ]
    assert chorus("prices", "remove", "base", "--adapter", "acme/sql").status == 0
    assert chorus("prices", "remove", "base", "--adapter", "acme/sql").status == 1
    assert chorus("prices", "set", "base", "--input", "cheap", "--generated", "1").status == 2
