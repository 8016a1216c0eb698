import asyncio
import time
from typing import Any

import pytest

from chorus_gateway.api.models import models_router
from chorus_gateway.auth import parse_key
from chorus_gateway.values import Limits, Principal, Scope, Tenant
from tests.gateway.admin.test_adapters_api import upload
from tests.gateway.support.door import Door, bearer

TERMS = {
    "name": "ci",
    "scopes": ["infer"],
    "limits": {"requests_per_minute": 5, "tokens_per_day": 10**10, "budget": "12.5", "budget_period": "day"},
    "models": ["base", "base@sql", "base@rival/theirs", "other@*"],
    "networks": ["10.0.0.0/8", "2001:db8::/32", "203.0.113.9"],
}


@pytest.fixture(autouse=True)
async def acme(door: Door) -> None:
    await door.parts.tenants.create(Tenant("acme"))


async def call(door: Door, method: str, path: str, body: Any = None, status: int = 200) -> dict[str, Any]:
    answer = await door.http.request(method, f"/admin/v1{path}", json=body, headers=door.admin)
    assert answer.status_code == status, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def made(door: Door, **terms: Any) -> dict[str, Any]:
    return await call(door, "POST", "/tenants/acme/keys", terms, 201)


async def principal(door: Door, key: str, client: str = "10.0.0.1") -> Principal:
    return await door.parts.authenticator.authenticate(f"Bearer {key}", Scope.INFER, client)


async def test_a_key_has_all_of_its_terms(door: Door) -> None:
    shown = await made(door, **TERMS)
    limits = Limits(requests_per_minute=5, tokens_per_day=10**10, budget=12_500_000_000, budget_period="day")  # type: ignore[arg-type]  # a StrEnum is its text
    asking = await principal(door, shown.pop("key"))
    assert (asking.limits, asking.models) == (limits, frozenset(TERMS["models"]))
    assert shown["limits"]["budget"] == "12.50"
    assert shown["networks"] == ["10.0.0.0/8", "2001:db8::/32", "203.0.113.9/32"]
    assert (shown["models"], shown["last_used_at"], shown["replaced_by"]) == (TERMS["models"], None, None)
    assert await call(door, "GET", f"/keys/{shown['id']}") == shown


WRONG_TERMS: list[tuple[dict[str, Any], str]] = [
    ({"models": []}, "models"),
    ({"models": "base"}, "models"),
    ({"models": ["base@sql:3"]}, "models.0"),
    ({"models": ["base", "@sql"]}, "models.1"),
    ({"models": ["base@SQL"]}, "models.0"),
    ({"models": ["two words"]}, "models.0"),
    ({"models": [""]}, "models.0"),
    ({"models": ["a" * 257]}, "models.0"),
    ({"networks": []}, "networks"),
    ({"networks": ["10.0.0.1/8"]}, "networks.0"),
    ({"networks": ["example.com"]}, "networks.0"),
    ({"networks": [10]}, "networks.0"),
    ({"limits": {"budget": 12.5}}, "limits.budget"),
    ({"limits": {"budget": "12,5"}}, "limits.budget"),
    ({"limits": {"budget": "-1"}}, "limits.budget"),
    ({"limits": {"budget": "1e3"}}, "limits.budget"),
    ({"limits": {"budget": "0"}}, "limits.budget"),
    ({"limits": {"budget": "0.0000000001"}}, "limits.budget"),
    ({"limits": {"budget": "9007200"}}, "limits.budget"),
    ({"limits": {"budget": "１２"}}, "limits.budget"),
    ({"limits": {"budget_period": "week"}}, "limits.budget_period"),
    ({"limits": {"tokens_per_day": 0}}, "limits.tokens_per_day"),
    ({"limits": {"adapters": 3}}, "limits.adapters"),
    ({"models": ["a\x00"]}, "models.0"),
    ({"networks": ["\x00"]}, "networks.0"),
    ({"expires_in": 0}, "expires_in"),
    ({"name": "a\x00"}, "name"),
    ({"name": "a" * 129}, "name"),
]


async def test_wrong_terms_are_named(door: Door) -> None:
    shown = await made(door)
    for body, param in WRONG_TERMS:
        answer = await call(door, "POST", "/tenants/acme/keys", body, 400)
        assert answer["error"]["param"] == param
        if param != "expires_in":
            changed = await call(door, "PATCH", f"/keys/{shown['id']}", body, 400)
            assert changed["error"]["param"] == param
    assert len(await door.parts.keys.of_tenant("acme")) == 1


async def test_a_change_keeps_the_rest_and_holds_at_once(door: Door) -> None:
    shown = await made(door, **TERMS)
    await principal(door, shown["key"])
    path = f"/keys/{shown['id']}"
    changed = await call(door, "PATCH", path, {"limits": {"budget": None}, "models": None, "networks": ["11.0.0.0/8"]})
    assert changed["limits"]["requests_per_minute"] == 5
    assert (changed["limits"]["budget"], changed["models"], changed["name"]) == (None, None, "ci")
    asking = await principal(door, shown["key"], "11.2.3.4")
    assert (asking.limits.budget, asking.models) == (None, None)
    renamed = await call(door, "PATCH", path, {"name": ""})
    assert (renamed["name"], renamed["networks"]) == ("", ["11.0.0.0/8"])


async def test_the_address_that_counts_is_the_one_that_proxies_tell(door: Door) -> None:
    shown = await made(door, scopes=["adapters"], networks=["198.51.100.0/24"])
    headers = bearer(shown["key"])
    refused = await door.http.get("/admin/v1/adapters", headers=headers | {"x-forwarded-for": "198.51.100.7"})
    assert refused.status_code == 403  # httpx's address is no trusted proxy
    assert refused.json()["error"]["code"] == "address_not_allowed"
    door.http._transport.client = ("10.9.0.1", 1)  # type: ignore[attr-defined]  # ASGITransport's peer
    for forwarded, status in (("198.51.100.7", 200), ("198.51.100.7, 203.0.113.9", 403)):
        answer = await door.http.get("/admin/v1/adapters", headers=headers | {"x-forwarded-for": forwarded})
        assert answer.status_code == status


async def test_last_used_is_told(door: Door) -> None:
    shown = await made(door)
    before = time.time()
    await principal(door, shown["key"])
    await door.last_used.flush()
    listed = await call(door, "GET", "/tenants/acme/keys")
    assert int(before) <= listed["data"][0]["last_used_at"] <= time.time()


async def test_a_rotation_with_overlap(door: Door) -> None:
    old = await made(door, **TERMS, expires_in=1000)
    new = await call(door, "POST", f"/keys/{old['id']}/rotate", {"overlap": 60}, 201)
    assert parse_key(new["key"]) is not None
    same = ("tenant", "scopes", "name", "limits", "models", "networks")
    assert {field: new[field] for field in same} == {field: old[field] for field in same}
    assert new["expires_at"] - new["created_at"] == 1000
    replaced = await call(door, "GET", f"/keys/{old['id']}")
    assert replaced["replaced_by"] == new["id"]
    assert replaced["expires_at"] - new["created_at"] == pytest.approx(60, abs=1)
    for key in (old, new):
        await principal(door, key["key"])
    again = await call(door, "POST", f"/keys/{old['id']}/rotate", {"overlap": 60}, 409)
    assert f"replaced by '{new['id']}'" in again["error"]["message"]


async def test_a_rotation_without_overlap_ends_the_old_key_at_once(door: Door) -> None:
    old = await made(door)
    await principal(door, old["key"], "")
    new = await call(door, "POST", f"/keys/{old['id']}/rotate", {}, 201)
    assert new["expires_at"] is None
    await principal(door, new["key"], "")
    answer = await door.http.get("/admin/v1/adapters", headers=bearer(old["key"]))
    assert answer.status_code == 401
    await call(door, "DELETE", f"/keys/{new['id']}")
    await call(door, "POST", f"/keys/{new['id']}/rotate", {}, 409)


async def test_wrong_rotations(door: Door) -> None:
    path = f"/keys/{(await made(door))['id']}/rotate"
    for value in (-1, 10**9, "60", None):
        assert (await call(door, "POST", path, {"overlap": value}, 400))["error"]["param"] == "overlap"
    assert (await call(door, "POST", path, {"x": 1}, 400))["error"]["param"] == "x"
    await call(door, "POST", "/keys/nothing/rotate", {}, 404)


async def test_administrators_keys_come_and_go_but_for_the_last(door: Door) -> None:
    first = door.admin_key.id
    refused = await call(door, "DELETE", f"/keys/{first}", None, 409)
    assert "the last administrator's key" in refused["error"]["message"]
    second = await call(door, "POST", "/keys", {"name": "on call", "networks": ["127.0.0.0/8"]}, 201)
    assert (second["tenant"], second["scopes"]) == (None, ["admin"])
    short = await call(door, "POST", "/keys", {"expires_in": 0.01}, 201)
    listed = await call(door, "GET", "/keys")
    assert [key["id"] for key in listed["data"]] == [first, second["id"], short["id"]]
    assert all("key" not in key for key in listed["data"])
    await asyncio.sleep(0.02)
    revoked = await door.http.delete(f"/admin/v1/keys/{first}", headers=bearer(second["key"]))
    assert revoked.status_code == 200
    assert (await door.http.get("/admin/v1/tenants", headers=door.admin)).status_code == 401
    # What is left is this one and an expired one.
    last = await door.http.delete(f"/admin/v1/keys/{second['id']}", headers=bearer(second["key"]))
    assert last.status_code == 409


async def test_administrators_keys_have_no_terms_of_tenants(door: Door) -> None:
    for body, param in (({"scopes": ["infer"]}, "scopes.0"), ({"limits": {}}, "limits"), ({"models": ["a"]}, "models")):
        assert (await call(door, "POST", "/keys", body, 400))["error"]["param"] == param
    for change in ({"limits": {"budget": "1"}}, {"models": ["a"]}):
        await call(door, "PATCH", f"/keys/{door.admin_key.id}", change, 400)


async def test_a_key_sees_the_models_that_it_may_use(door: Door) -> None:
    for name in ("sql", "tone"):
        await upload(door, "acme", name)
    base = door.engines.name
    door.app.include_router(models_router(door.parts.authenticator, door.parts.resolver))

    async def seen(**terms: Any) -> list[str]:
        answer = await door.http.get("/v1/models", headers=bearer((await made(door, **terms))["key"]))
        return [model["id"] for model in answer.json()["data"]]

    assert await seen() == [base, f"{base}@sql", f"{base}@tone"]
    assert await seen(models=[base]) == [base]
    assert await seen(models=[f"{base}@sql"]) == [f"{base}@sql"]
    assert await seen(models=[f"{base}@acme/sql", "nothing"]) == [f"{base}@sql"]
    assert await seen(models=[f"{base}@*"]) == [f"{base}@sql", f"{base}@tone"]
    key = bearer((await made(door, models=[f"{base}@sql"]))["key"])
    for name, status in ((f"{base}@sql:1", 200), ("sql", 200), (f"{base}@acme/sql", 200), (f"{base}@tone", 404)):
        assert (await door.http.get(f"/v1/models/{name}", headers=key)).status_code == status
    hidden = (await door.http.get(f"/v1/models/{base}@tone", headers=key)).json()
    absent = (await door.http.get(f"/v1/models/{base}@none", headers=key)).json()
    assert hidden["error"]["message"].replace("tone", "none") == absent["error"]["message"]
