from typing import Any

import pytest

from chorus_gateway.db import Database
from chorus_gateway.errors import ModelNotFound
from chorus_gateway.values import Scope, Tenant
from tests.adapter_store.support import BASE, make_upload
from tests.gateway.support.door import Door, open_door
from tests.gateway.support.fake_store import FakeStore
from tests.gateway.support.redis_server import RedisServer, redis_client

PATH = "/admin/v1/adapters"


async def upload(door: Door, tenant: str, name: str, seed: int = 0) -> dict[str, Any]:
    files = make_upload(seed=seed)
    answer = await door.http.post(
        PATH,
        data={"tenant": tenant, "name": name, "model": BASE.name},
        files={"adapter_config": files.config_bytes, "adapter_model": files.weights_bytes},
        headers=door.admin,
    )
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


@pytest.fixture
async def stocked(door: Door) -> Door:
    for tenant in ("acme", "rival"):
        await door.parts.tenants.create(Tenant(tenant))
    await upload(door, "acme", "sql")
    await upload(door, "acme", "sql", seed=1)
    await upload(door, "rival", "theirs")
    return door


async def listed(door: Door, headers: dict[str, str], query: str = "") -> list[tuple[str, str, int]]:
    answer = await door.http.get(PATH + query, headers=headers)
    assert answer.status_code == 200
    return [(entry["tenant"], entry["name"], entry["generation"]) for entry in answer.json()["data"]]


async def test_lists(stocked: Door) -> None:
    everything = [("acme", "sql", 2), ("acme", "sql", 1), ("rival", "theirs", 1)]
    assert await listed(stocked, stocked.admin) == everything
    assert await listed(stocked, stocked.admin, "?tenant=acme") == everything[:2]
    assert await listed(stocked, stocked.admin, "?tenant=nobody") == []
    own = await stocked.tenant_key("rival", Scope.ADAPTERS)
    assert await listed(stocked, own) == everything[2:]
    assert (await stocked.http.get(f"{PATH}?tenant=acme", headers=own)).status_code == 403


async def test_a_list_comes_in_pages_when_asked(stocked: Door) -> None:
    query, found = "?limit=2", list[tuple[str, int]]()
    for wanted in (2, 1):
        answer = (await stocked.http.get(f"{PATH}{query}", headers=stocked.admin)).json()
        assert len(answer["data"]) == wanted
        found += [(entry["name"], entry["generation"]) for entry in answer["data"]]
        query = f"?limit=2&page={answer['next_page']}"
    assert answer["next_page"] is None
    assert found == [("sql", 2), ("sql", 1), ("theirs", 1)]
    assert (await stocked.http.get(PATH, headers=stocked.admin)).json()["next_page"] is None
    for wrong in ("?limit=0", "?limit=1001"):
        assert (await stocked.http.get(f"{PATH}{wrong}", headers=stocked.admin)).status_code == 400


async def test_an_alias_is_set_followed_and_removed(stocked: Door) -> None:
    path = f"{PATH}/acme/sql/aliases/prod"
    answer = await stocked.http.put(path, json={"generation": 1}, headers=stocked.admin)
    assert (answer.status_code, answer.json()["aliases"]) == (200, ["prod"])
    resolved = await stocked.parts.resolver.resolve(Tenant("acme"), f"{BASE.name}@sql:prod")
    assert resolved.adapter == answer.json()["digest"]
    assert (await stocked.http.delete(path, headers=stocked.admin)).status_code == 204
    assert (await stocked.http.delete(path, headers=stocked.admin)).status_code == 404


async def test_a_canary_is_set_promoted_and_rolled_back(stocked: Door) -> None:
    path = f"{PATH}/acme/sql/aliases/prod"
    canary = {"generation": 2, "percent": 10}
    answer = await stocked.http.put(path, json={"generation": 1, "canary": canary}, headers=stocked.admin)
    assert (answer.status_code, answer.json()["generation"]) == (200, 1)
    drawn = [await stocked.parts.resolver.resolve(Tenant("acme"), "sql:prod", f"user {n}") for n in range(100)]
    assert len({each.adapter for each in drawn}) == 2
    await stocked.http.put(path, json={"generation": 2}, headers=stocked.admin)
    drawn = [await stocked.parts.resolver.resolve(Tenant("acme"), "sql:prod", f"user {n}") for n in range(100)]
    assert len({each.adapter for each in drawn}) == 1
    answer = await stocked.http.post(f"{path}/rollback", headers=stocked.admin)
    assert (answer.status_code, answer.json()["generation"]) == (200, 1)
    history = await stocked.http.get(path, headers=stocked.admin)
    assert [(change["generation"], change["canary"]) for change in history.json()["data"]] == [
        (1, canary),
        (2, None),
        (1, canary),
    ]
    assert (await stocked.http.get(f"{PATH}/acme/sql/aliases/none", headers=stocked.admin)).status_code == 404


@pytest.mark.parametrize("body", [{}, {"generation": 0}, {"generation": "one"}, {"generation": 1, "x": 1}])
async def test_a_wrong_alias_body_is_400(stocked: Door, body: dict[str, Any]) -> None:
    answer = await stocked.http.put(f"{PATH}/acme/sql/aliases/prod", json=body, headers=stocked.admin)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] in ("generation", "x")


async def test_an_adapter_is_shared_used_and_withdrawn(stocked: Door) -> None:
    path, name = f"{PATH}/acme/sql/visibility", f"{BASE.name}@acme/sql"
    resolver, rival = stocked.parts.resolver, Tenant("rival")
    with pytest.raises(ModelNotFound):
        await resolver.resolve(rival, name)
    body = {"visibility": "shared", "shared_with": ["rival"]}
    answer = await stocked.http.put(path, json=body, headers=stocked.admin)
    assert (answer.status_code, answer.json() | body) == (200, answer.json())
    assert (await resolver.resolve(rival, name)).adapter == answer.json()["digest"]
    assert name in [card.id for card in await resolver.list(rival)]
    own = await stocked.tenant_key("acme", Scope.ADAPTERS)
    assert (await stocked.http.put(path, json={"visibility": "private"}, headers=own)).status_code == 200
    with pytest.raises(ModelNotFound):
        await resolver.resolve(rival, name)


async def test_a_tenants_quota_of_adapters_holds_from_the_change_on(stocked: Door) -> None:
    limits = {"limits": {"adapters": 1, "adapter_bytes": 1 << 40, "adapter_rank": 64}}
    changed = await stocked.http.patch("/admin/v1/tenants/acme", json=limits, headers=stocked.admin)
    assert changed.json()["limits"].items() >= limits["limits"].items()
    await upload(stocked, "acme", "sql", seed=2)
    files = make_upload()
    answer = await stocked.http.post(
        PATH,
        data={"tenant": "acme", "name": "second", "model": BASE.name},
        files={"adapter_config": files.config_bytes, "adapter_model": files.weights_bytes},
        headers=stocked.admin,
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "insufficient_quota")
    assert (answer.headers["x-should-retry"], "retry-after" in answer.headers) == ("false", False)


async def test_retiring_deleting_and_restoring(stocked: Door) -> None:
    path, resolver, acme = f"{PATH}/acme/sql", stocked.parts.resolver, Tenant("acme")
    old = await resolver.resolve(acme, "sql:1")
    body = {"reason": "slow"}
    answer = await stocked.http.post(f"{path}/generations/1/retire", json=body, headers=stocked.admin)
    assert (answer.status_code, answer.json()["state"], answer.json()["reason"]) == (200, "retired", "slow")
    with pytest.raises(ModelNotFound):
        await resolver.resolve(acme, "sql:1")
    answer = await stocked.http.post(f"{path}/restore?generation=1", headers=stocked.admin)
    assert (answer.status_code, answer.json()) == (200, {"restored": 1})
    assert await resolver.resolve(acme, "sql:1") == old
    await stocked.http.delete(f"{path}?reason=mistake", headers=stocked.admin)
    assert await listed(stocked, stocked.admin, "?tenant=acme") == []
    assert len(await listed(stocked, stocked.admin, "?tenant=acme&deleted=true")) == 2
    assert (await stocked.http.post(f"{path}/restore", headers=stocked.admin)).json() == {"restored": 2}
    assert await resolver.resolve(acme, "sql:1") == old
    history = (await stocked.http.get(f"{path}/history", headers=stocked.admin)).json()["data"]
    assert {"generation": 1, "state": "deleted", "reason": "mistake", "at": 3} in history
    long = {"reason": "x" * 501}
    answer = await stocked.http.post(f"{path}/generations/1/retire", json=long, headers=stocked.admin)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "reason")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "visibility"),
        ({"visibility": "secret"}, "visibility"),
        ({"visibility": "shared", "shared_with": ["A B"]}, "shared_with.0"),
        ({"visibility": "shared"}, None),
    ],
)
async def test_a_wrong_visibility_is_400(stocked: Door, body: dict[str, Any], param: str | None) -> None:
    answer = await stocked.http.put(f"{PATH}/acme/sql/visibility", json=body, headers=stocked.admin)
    assert answer.status_code == 400
    assert (answer.json()["error"]["param"], "shared_with" in answer.text or param == "visibility") == (param, True)


async def test_deleting_one_and_all(stocked: Door) -> None:
    one = await stocked.http.delete(f"{PATH}/acme/sql?generation=1", headers=stocked.admin)
    assert (one.status_code, one.json()) == (200, {"deleted": 1})
    assert await listed(stocked, stocked.admin, "?tenant=acme") == [("acme", "sql", 2)]
    every = await stocked.http.delete(f"{PATH}/acme/sql", headers=stocked.admin)
    assert every.json() == {"deleted": 1}
    assert (await stocked.http.delete(f"{PATH}/acme/sql", headers=stocked.admin)).status_code == 404
    wrong = await stocked.http.delete(f"{PATH}/acme/sql?generation=0", headers=stocked.admin)
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "generation")


async def test_a_tenants_key_reaches_nobody_elses(stocked: Door) -> None:
    own = await stocked.tenant_key("rival", Scope.ADAPTERS)
    for method, path in (
        ("PUT", "/acme/sql/aliases/prod"),
        ("DELETE", "/acme/sql/aliases/latest"),
        ("PUT", "/acme/sql/visibility"),
        ("POST", "/acme/sql/aliases/prod/rollback"),
        ("GET", "/acme/sql/aliases/prod"),
        ("POST", "/acme/sql/generations/1/retire"),
        ("POST", "/acme/sql/restore"),
        ("GET", "/acme/sql/history"),
        ("DELETE", "/acme/sql"),
        ("DELETE", "/acme/none"),
    ):
        bodies: dict[str, dict[str, Any]] = {"visibility": {"visibility": "public"}, "retire": {}}
        body = bodies.get(path.rpartition("/")[2], {"generation": 1})
        answer = await stocked.http.request(
            method, PATH + path, json=body if method in ("PUT", "POST") else None, headers=own
        )
        assert answer.status_code == 403
        assert "'rival'" in answer.json()["error"]["message"]
    assert len(await listed(stocked, stocked.admin)) == 3


async def test_writes_fail_closed_while_redis_is_away(
    database: Database, own_redis_server: RedisServer, fake_store: FakeStore
) -> None:
    async with (
        redis_client(own_redis_server.url) as redis,
        open_door(database, redis, fake_store.address, model=BASE.name) as door,
    ):
        await door.parts.tenants.create(Tenant("acme"))
        await upload(door, "acme", "sql")
        own_redis_server.stop()
        files = make_upload(seed=1)
        writes: list[tuple[str, str, dict[str, Any]]] = [
            ("POST", "", {"data": {"tenant": "acme"}, "files": {"adapter_config": files.config_bytes}}),
            ("PUT", "/acme/sql/aliases/prod", {"json": {"generation": 1}}),
            ("DELETE", "/acme/sql/aliases/prod", {}),
            ("POST", "/acme/sql/aliases/prod/rollback", {}),
            ("PUT", "/acme/sql/visibility", {"json": {"visibility": "public"}}),
            ("POST", "/acme/sql/generations/1/retire", {"json": {}}),
            ("POST", "/acme/sql/restore", {}),
            ("DELETE", "/acme/sql", {}),
        ]
        for method, path, body in writes:
            answer = await door.http.request(method, PATH + path, headers=door.admin, **body)
            assert answer.status_code == 503, answer.text
            assert "Redis" in answer.json()["error"]["message"]
        assert await listed(door, door.admin) == [("acme", "sql", 1)]
