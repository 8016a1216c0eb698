"""The admin API on PostgreSQL, and what no database takes as it is."""

from urllib.parse import quote

from redis.asyncio import Redis

from chorus_gateway.db import Database
from tests.gateway.support.door import open_door
from tests.gateway.support.fake_store import FakeStore

STRANGE = ("a\x00b", "é" * 200, "' OR 1=1 --", "\U0001f600")
PATHS = (
    ("GET", "/tenants/{}"),
    ("PATCH", "/tenants/{}"),
    ("DELETE", "/tenants/{}"),
    ("GET", "/tenants/{}/keys"),
    ("POST", "/tenants/{}/keys"),
    ("GET", "/tenants/{}/adapter-limits"),
    ("PUT", "/tenants/{}/adapter-limits/a/b"),
    ("GET", "/tenants/acme/adapter-limits/{}/b"),
    ("DELETE", "/tenants/acme/adapter-limits/a/{}"),
    ("GET", "/keys/{}"),
    ("PATCH", "/keys/{}"),
    ("DELETE", "/keys/{}"),
    ("POST", "/keys/{}/rotate"),
    ("DELETE", "/prices?model={}"),
    ("DELETE", "/prices?model=a&adapter={}"),
    ("GET", "/audit?actor={}"),
)


async def test_strange_names_are_the_clients_mistake(
    any_database: Database, redis: Redis, fake_store: FakeStore
) -> None:
    async with open_door(any_database, redis, fake_store.address, model="base") as door:
        await door.tenant_key("acme")
        for method, path in PATHS:
            for name in STRANGE:
                url = f"/admin/v1{path.format(quote(name, safe=''))}"
                body: dict[str, str] | None = {} if method in ("PATCH", "POST", "PUT") else None
                answer = await door.http.request(method, url, json=body, headers=door.admin)
                assert answer.status_code in (400, 404, 405), (method, path, name[:20], answer.text)
                assert answer.json()["error"]["message"]
        verdict = (await door.http.get("/admin/v1/audit/verify", headers=door.admin)).json()
        assert (verdict["ok"], verdict["entries"], verdict["unfinished"]) == (True, 0, 0)


async def test_names_of_keys_are_anybodys(any_database: Database, redis: Redis, fake_store: FakeStore) -> None:
    name = "zoë 日本"
    async with open_door(any_database, redis, fake_store.address, model="base") as door:
        await door.tenant_key("acme")
        made = await door.http.post("/admin/v1/tenants/acme/keys", json={"name": name}, headers=door.admin)
        assert (made.status_code, made.json()["name"]) == (201, name)
        [entry] = (await door.http.get("/admin/v1/audit", headers=door.admin)).json()["data"]
        assert entry["details"]["name"] == name
