from typing import Any

import pytest

from chorus_gateway.auth import parse_key
from chorus_gateway.db import Database
from chorus_gateway.values import Band, Limits, Scope, Tenant
from tests.gateway.admin.test_adapters_api import upload
from tests.gateway.support.door import Door, bearer, open_door
from tests.gateway.support.fake_store import FakeStore
from tests.gateway.support.redis_server import RedisServer, redis_client

ACME = {"id": "acme", "weight": 2.5, "limits": {"tokens_per_minute": 100}}
SHOWN_LIMITS = {
    "requests_per_minute": None,
    "tokens_per_minute": 100,
    "tokens_per_day": None,
    "concurrent_requests": None,
    "budget": None,
    "budget_period": "month",
    "adapters": None,
    "adapter_bytes": None,
    "adapter_rank": None,
}


async def created(door: Door, body: dict[str, Any] | None = None) -> dict[str, Any]:
    answer = await door.http.post("/admin/v1/tenants", json=body or ACME, headers=door.admin)
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def test_a_tenant_is_made_shown_and_listed(door: Door) -> None:
    shown = await created(door)
    assert shown.pop("created_at") > 1_600_000_000
    assert shown == {
        "id": "acme",
        "weight": 2.5,
        "limits": SHOWN_LIMITS,
        "tiers": ["priority", "default", "flex"],
        "default_max_tokens": None,
        "suspended": False,
    }
    one = (await door.http.get("/admin/v1/tenants/acme", headers=door.admin)).json()
    listed = (await door.http.get("/admin/v1/tenants", headers=door.admin)).json()
    assert listed == {"object": "list", "data": [one]}


async def test_a_taken_id_is_a_conflict(door: Door) -> None:
    await created(door)
    answer = await door.http.post("/admin/v1/tenants", json={"id": "acme"}, headers=door.admin)
    assert answer.status_code == 409
    assert answer.json()["error"]["param"] == "id"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "id"),
        ({"id": "Has Spaces"}, "id"),
        ({"id": "a" * 65}, "id"),
        ({"id": "acme\n"}, "id"),
        ({"id": "acme", "weight": 0}, "weight"),
        ({"id": "acme", "weight": "heavy"}, "weight"),
        ({"id": "acme", "weight": "2"}, "weight"),
        ({"id": "acme", "weight": True}, "weight"),
        ({"id": "acme", "limits": {"requests_per_minute": 1.0}}, "limits.requests_per_minute"),
        ({"id": "acme", "limits": {"tokens_per_minute": 0}}, "limits.tokens_per_minute"),
        ({"id": "acme", "limits": {"tokens_per_hour": 5}}, "limits.tokens_per_hour"),
        ({"id": "acme", "limits": {"budget": 12.5}}, "limits.budget"),
        ({"id": "acme", "limits": {"budget": "12.5.0"}}, "limits.budget"),
        ({"id": "acme", "limits": {"budget_period": None}}, "limits.budget_period"),
        ({"id": "acme", "tiers": []}, "tiers"),
        ({"id": "acme", "tiers": ["gold"]}, "tiers.0"),
        ({"id": "acme", "default_max_tokens": 0}, "default_max_tokens"),
        ({"id": "acme", "suspended": "yes"}, "suspended"),
        ({"id": "acme", "color": "red"}, "color"),
        ([], None),
    ],
)
async def test_wrong_fields_are_named(door: Door, body: Any, param: str | None) -> None:
    answer = await door.http.post("/admin/v1/tenants", json=body, headers=door.admin)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert error["message"]


async def test_a_change_keeps_the_rest_and_null_lifts_a_limit(door: Door) -> None:
    await created(door)
    change = {"limits": {"tokens_per_minute": None, "concurrent_requests": 3}}
    answer = await door.http.patch("/admin/v1/tenants/acme", json=change, headers=door.admin)
    assert answer.status_code == 200
    assert answer.json()["weight"] == 2.5
    assert (await door.parts.tenants.get("acme")).tenant == Tenant("acme", Limits(concurrent_requests=3), 2.5)


async def test_tiers_budget_and_default_are_set_and_lifted(door: Door) -> None:
    body = {
        "id": "acme",
        "tiers": ["flex", "default", "flex"],
        "default_max_tokens": 100,
        "limits": {"budget": "9007199.254740992", "budget_period": "total", "tokens_per_day": 2**53},
    }
    shown = await created(door, body)
    assert (shown["tiers"], shown["default_max_tokens"]) == (["default", "flex"], 100)
    assert (shown["limits"]["budget"], shown["limits"]["budget_period"]) == ("9007199.254740992", "total")
    stored = (await door.parts.tenants.get("acme")).tenant
    assert (stored.bands, stored.limits.budget) == (frozenset({Band.DEFAULT, Band.FLEX}), 2**53)
    change = {"default_max_tokens": None, "tiers": ["priority"], "limits": {"budget": None}}
    answer = await door.http.patch("/admin/v1/tenants/acme", json=change, headers=door.admin)
    changed = answer.json()
    assert (changed["tiers"], changed["default_max_tokens"], changed["limits"]["budget"]) == (["priority"], None, None)
    assert changed["limits"]["budget_period"] == "total"
    untouched = await door.http.patch("/admin/v1/tenants/acme", json={}, headers=door.admin)
    assert untouched.json() == changed


async def test_a_suspended_tenants_keys_are_refused_until_it_is_back(door: Door) -> None:
    headers = await door.tenant_key("acme", Scope.ADAPTERS)
    for suspended, status in ((True, 403), (False, 200)):
        change = {"suspended": suspended}
        answer = await door.http.patch("/admin/v1/tenants/acme", json=change, headers=door.admin)
        assert answer.json()["suspended"] is suspended
        asked = await door.http.get("/admin/v1/adapters", headers=headers)
        assert asked.status_code == status
        if suspended:
            assert asked.json()["error"]["code"] == "tenant_suspended"


async def test_a_tenant_is_deleted_once_nothing_of_it_is_alive(door: Door) -> None:
    headers = await door.tenant_key("acme")
    await upload(door, "acme", "sql")
    path = "/admin/v1/tenants/acme"
    for words, remedy in (
        ("has adapters", "/admin/v1/adapters/acme/sql"),
        ("has keys that are good", f"/admin/v1/keys/{headers['authorization'].split('_')[1]}"),
    ):
        refused = await door.http.delete(path, headers=door.admin)
        assert refused.status_code == 409
        assert words in refused.json()["error"]["message"]
        assert (await door.http.delete(remedy, headers=door.admin)).status_code == 200
    assert (await door.http.delete(path, headers=door.admin)).status_code == 204
    assert (await door.http.get(path, headers=door.admin)).status_code == 404
    assert (await door.http.delete(path, headers=door.admin)).status_code == 404
    again = await door.http.post("/admin/v1/tenants", json={"id": "acme"}, headers=door.admin)
    assert again.status_code == 409


async def test_changed_limits_hold_at_once(door: Door) -> None:
    headers = await door.tenant_key("acme")
    before = await door.parts.authenticator.authenticate(headers["authorization"], Scope.INFER)
    await door.http.patch("/admin/v1/tenants/acme", json={"limits": {"tokens_per_minute": 5}}, headers=door.admin)
    after = await door.parts.authenticator.authenticate(headers["authorization"], Scope.INFER)
    assert before.tenant == Tenant("acme")
    assert after.tenant == Tenant("acme", Limits(tokens_per_minute=5))


async def test_a_key_is_shown_once_and_works(door: Door) -> None:
    await created(door)
    body = {"name": "laptop", "expires_in": 3600, "scopes": ["infer", "adapters"]}
    answer = await door.http.post("/admin/v1/tenants/acme/keys", json=body, headers=door.admin)
    assert answer.status_code == 201
    shown = answer.json()
    key = parse_key(shown["key"])
    assert key is not None
    assert key.id == shown["id"]
    assert shown["expires_at"] - shown["created_at"] == 3600
    principal = await door.parts.authenticator.authenticate(f"Bearer {shown.pop('key')}", Scope.INFER)
    assert principal.tenant is not None
    assert principal.tenant.id == "acme"
    listed = (await door.http.get("/admin/v1/tenants/acme/keys", headers=door.admin)).json()
    assert listed["data"] == [shown]


async def test_a_key_needs_no_body_fields(door: Door) -> None:
    await created(door)
    answer = await door.http.post("/admin/v1/tenants/acme/keys", json={}, headers=door.admin)
    assert (answer.status_code, answer.json()["scopes"], answer.json()["expires_at"]) == (201, ["infer"], None)


@pytest.mark.parametrize("scopes", [["admin"], [], ["infer", "root"]])
async def test_scopes_that_a_tenant_cannot_have(door: Door, scopes: list[str]) -> None:
    await created(door)
    answer = await door.http.post("/admin/v1/tenants/acme/keys", json={"scopes": scopes}, headers=door.admin)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith("scopes")


async def test_a_revoked_key_is_refused_at_once(door: Door) -> None:
    headers = await door.tenant_key("acme", Scope.ADAPTERS)
    assert (await door.http.get("/admin/v1/adapters", headers=headers)).status_code == 200
    key_id = headers["authorization"].split("_")[1]
    revoked = await door.http.delete(f"/admin/v1/keys/{key_id}", headers=door.admin)
    assert revoked.status_code == 200
    assert revoked.json()["revoked_at"] >= revoked.json()["created_at"]
    assert "key" not in revoked.json()
    refused = await door.http.get("/admin/v1/adapters", headers=headers)
    assert refused.status_code == 401
    assert refused.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/admin/v1/tenants/nobody"),
        ("PATCH", "/admin/v1/tenants/nobody"),
        ("GET", "/admin/v1/tenants/nobody/keys"),
        ("POST", "/admin/v1/tenants/nobody/keys"),
        ("DELETE", "/admin/v1/keys/nothing"),
    ],
)
async def test_what_is_not_there_is_404(door: Door, method: str, path: str) -> None:
    body: dict[str, str] | None = {} if method in ("PATCH", "POST") else None
    answer = await door.http.request(method, path, json=body, headers=door.admin)
    assert answer.status_code == 404
    assert answer.json()["error"]["message"].startswith("There is no ")


ADMIN_ROUTES = [
    ("GET", "/admin/v1/tenants"),
    ("POST", "/admin/v1/tenants"),
    ("GET", "/admin/v1/tenants/acme"),
    ("PATCH", "/admin/v1/tenants/acme"),
    ("POST", "/admin/v1/tenants/acme/keys"),
    ("GET", "/admin/v1/tenants/acme/keys"),
    ("DELETE", "/admin/v1/keys/x"),
    ("POST", "/admin/v1/keys"),
    ("DELETE", "/admin/v1/tenants/acme"),
    ("PUT", "/admin/v1/prices"),
    ("GET", "/admin/v1/audit"),
    ("GET", "/admin/v1/adapters"),
    ("POST", "/admin/v1/adapters"),
    ("PUT", "/admin/v1/adapters/acme/sql/aliases/prod"),
    ("DELETE", "/admin/v1/adapters/acme/sql/aliases/prod"),
    ("DELETE", "/admin/v1/adapters/acme/sql"),
]


@pytest.mark.parametrize(("method", "path"), ADMIN_ROUTES)
async def test_a_tenants_key_is_refused_on_admin_routes(door: Door, method: str, path: str) -> None:
    headers = await door.tenant_key("acme")
    # The body is never looked at: what is wrong with it would be told before.
    answer = await door.http.request(method, path, content=b"{", headers=headers | {"content-type": "application/json"})
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "permission_denied"
    assert answer.json()["error"]["type"] == "permission_error"


@pytest.mark.parametrize(("method", "path"), ADMIN_ROUTES)
async def test_no_key_is_401_on_admin_routes(door: Door, method: str, path: str) -> None:
    answer = await door.http.request(method, path, content=b"{")
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_database_that_is_away_is_503_never_401(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door.parts.keys._database, "_timeout", 0)
    answer = await door.http.get("/admin/v1/tenants", headers=door.admin)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    malformed = await door.http.get("/admin/v1/tenants", headers=bearer("chorus_x"))
    assert malformed.status_code == 401  # known without asking


async def test_writes_fail_closed_while_redis_is_away(
    database: Database, own_redis_server: RedisServer, fake_store: FakeStore
) -> None:
    async with (
        redis_client(own_redis_server.url) as redis,
        open_door(database, redis, fake_store.address, model="base") as door,
    ):
        own_redis_server.stop()
        answer = await door.http.post("/admin/v1/tenants", json=ACME, headers=door.admin)
        assert answer.status_code == 503
        assert "Redis" in answer.json()["error"]["message"]
        assert (await door.http.get("/admin/v1/tenants", headers=door.admin)).json()["data"] == []
