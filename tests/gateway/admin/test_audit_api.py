import asyncio
from typing import Any

from fastapi.routing import APIRoute
from redis.asyncio import Redis
from sqlalchemy import text

from chorus_gateway.api.auditing import MARK
from chorus_gateway.db import Database
from chorus_gateway.values import Scope
from tests.gateway.admin.test_adapters_api import upload
from tests.gateway.support.door import Door, open_door
from tests.gateway.support.fake_store import FakeStore


async def call(door: Door, method: str, path: str, body: Any = None, **headers: str) -> Any:
    answer = await door.http.request(method, f"/admin/v1{path}", json=body, headers=door.admin | headers)
    return answer.json() if answer.content else None


async def logged(door: Door, query: str = "") -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = (await call(door, "GET", f"/audit{query}"))["data"]
    return entries


def routes(door: Door) -> list[APIRoute]:
    """Of every router that the application includes."""
    routers = [each.original_router for each in door.app.routes if hasattr(each, "original_router")]
    return [route for router in routers for route in router.routes if isinstance(route, APIRoute)]


def changes(route: APIRoute) -> bool:
    return not (route.methods or set()) <= {"GET", "HEAD"}


async def test_every_route_that_changes_something_is_recorded(door: Door) -> None:
    writing = [route for route in routes(door) if route.path.startswith("/admin") and changes(route)]
    assert len(writing) >= 20
    assert [route.path for route in writing if not hasattr(route.endpoint, MARK)] == []
    assert not any(hasattr(route.endpoint, MARK) for route in routes(door) if not changes(route))


async def test_changes_are_told_with_who_made_them(door: Door) -> None:
    await call(door, "POST", "/tenants", {"id": "acme", "weight": 2})
    key = await call(door, "POST", "/tenants/acme/keys", {"scopes": ["adapters"], "name": "ci"})
    await upload(door, "acme", "sql")
    tenant = {"authorization": f"Bearer {key['key']}"}
    await call(door, "PUT", "/adapters/acme/sql/aliases/prod", {"generation": 1}, **tenant)
    await call(door, "DELETE", "/adapters/acme/sql/aliases/prod?x=1", **tenant)
    rotated = await call(door, "POST", f"/keys/{key['id']}/rotate", {"overlap": 5})
    await call(door, "DELETE", f"/keys/{key['id']}")
    entries = await logged(door)
    assert [(entry["action"], entry["object"]) for entry in entries] == [
        ("create_tenant", "tenants/acme"),
        ("create_key", f"tenants/acme/keys/{key['id']}"),
        ("upload_adapter", "adapters/acme/sql"),
        ("set_alias", "adapters/acme/sql"),
        ("remove_alias", "adapters/acme/sql/aliases/prod"),
        ("rotate_key", f"keys/{key['id']}/rotate/{rotated['id']}"),
        ("revoke_key", f"keys/{key['id']}"),
    ]
    assert [entry["seq"] for entry in entries] == list(range(1, 8))
    administrator = door.admin_key.id
    assert [entry["actor"] for entry in entries] == [administrator] * 3 + [key["id"]] * 2 + [administrator] * 2
    assert {entry["client"] for entry in entries} == {"127.0.0.1"}
    assert entries[0]["details"] == {"id": "acme", "weight": 2.0, "answer": {"id": "acme"}}
    assert entries[2]["details"]["answer"]["generation"] == 1
    assert await logged(door, f"?actor={key['id']}&limit=1") == [entries[3]]
    assert await logged(door, "?since=6") == entries[5:]


async def test_the_log_holds_no_secret(door: Door) -> None:
    await call(door, "POST", "/tenants", {"id": "acme"})
    keys = [await call(door, "POST", "/tenants/acme/keys", {}), await call(door, "POST", "/keys", {})]
    keys.append(await call(door, "POST", f"/keys/{keys[0]['id']}/rotate", {}))
    told = str(await logged(door))
    for key in keys:
        assert key["id"] in told
        assert key["key"].split("_")[2][:32] not in told


async def test_what_is_refused_leaves_nothing(door: Door) -> None:
    await call(door, "POST", "/tenants", {"id": "acme"})
    await call(door, "POST", "/tenants", {"id": "acme"})  # 409
    await call(door, "POST", "/tenants", {"id": "Bad"})  # 400
    await call(door, "PATCH", "/tenants/nobody", {})  # 404
    await call(door, "PATCH", "/tenants/acme", {}, **await door.tenant_key("acme", Scope.ADAPTERS))  # 403
    assert len(await logged(door)) == 1
    assert (await call(door, "GET", "/audit/verify"))["unfinished"] == 0


async def test_a_tampered_log_is_told(door: Door, database: Database) -> None:
    for number in range(4):
        await call(door, "POST", "/tenants", {"id": f"t{number}"})
    good = await call(door, "GET", "/audit/verify")
    assert {"ok": True, "entries": 4, "seq": None, "reason": None, "unfinished": 0}.items() <= good.items()
    assert (await call(door, "GET", f"/audit/verify?head={good['head']}"))["ok"]
    async with database.engine.begin() as connection:
        await connection.execute(text("DROP TRIGGER audit_no_update"))
        await connection.execute(text("UPDATE audit SET client = '10.0.0.1' WHERE seq = 3"))
    broken = await call(door, "GET", "/audit/verify")
    assert (broken["ok"], broken["entries"], broken["seq"]) == (False, 2, 3)
    assert "not that of its content" in broken["reason"]


async def test_wrong_questions(door: Door) -> None:
    for query in ("?since=x", "?limit=0", "?limit=1001", "?actor=%00", "/verify?head=5"):
        answer = await door.http.get(f"/admin/v1/audit{query}", headers=door.admin)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] in query


async def test_tenants_may_not_read_it_and_nobody_may_write_it(door: Door) -> None:
    tenant = await door.tenant_key("acme", Scope.ADAPTERS, Scope.INFER)
    for path in ("", "/verify"):
        assert (await door.http.get(f"/admin/v1/audit{path}", headers=tenant)).status_code == 403
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            answer = await door.http.request(method, f"/admin/v1/audit{path}", headers=door.admin)
            assert answer.status_code == 405


async def test_without_the_log_nothing_is_changed(door: Door, database: Database) -> None:
    await call(door, "POST", "/tenants", {"id": "acme"})
    async with database.session() as session:
        await session.execute(text("ALTER TABLE audit_intents RENAME TO away"))
    for method, path, body in (
        ("POST", "/tenants", {"id": "rival"}),
        ("PATCH", "/tenants/acme", {"suspended": True}),
        ("DELETE", "/adapters/acme/sql", None),
    ):
        answer = await door.http.request(method, f"/admin/v1{path}", json=body, headers=door.admin)
        assert answer.status_code == 503
    [record] = await door.parts.tenants.all()
    assert not record.tenant.suspended


async def test_two_gateways_write_one_log(door: Door, database: Database, redis: Redis, fake_store: FakeStore) -> None:
    async with open_door(database, redis, fake_store.address, model="base") as other:
        doors = (door, other)
        await asyncio.gather(*(call(doors[i % 2], "POST", "/tenants", {"id": f"t{i}"}) for i in range(10)))
    verdict = await call(door, "GET", "/audit/verify")
    assert (verdict["ok"], verdict["entries"]) == (True, 10)
