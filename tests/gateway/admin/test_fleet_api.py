"""Imports, pins and engines, as an administrator sees them."""

from typing import Any

import grpc
import pytest

from chorus_gateway.db import Database
from chorus_gateway.values import Scope, Tenant
from chorus_proto.adapters.v1 import adapters_pb2 as pb
from tests.adapter_store.support import BASE, make_upload
from tests.gateway.support.door import Door, open_door
from tests.gateway.support.fake_store import FakeStore
from tests.gateway.support.redis_server import RedisServer, redis_client

ADMIN = "/admin/v1"
PIN = f"{ADMIN}/adapters/acme/sql/pin"
SOURCE = "s3://adapters/acme/sql"
IMPORT: dict[str, Any] = {"tenant": "acme", "name": "sql", "model": BASE.name, "source": SOURCE}


@pytest.fixture
async def stocked(door: Door, fake_store: FakeStore) -> Door:
    """With one adapter of two generations, in a bucket."""
    await door.parts.tenants.create(Tenant("acme"))
    for seed in (1, 0):
        files = make_upload(seed=seed)
        fake_store.bucket[SOURCE] = {
            "adapter_config.json": files.config_bytes,
            "adapter_model.safetensors": files.weights_bytes,
        }
        answer = await door.http.post(f"{ADMIN}/adapters/import", json=IMPORT, headers=door.admin)
        assert answer.status_code == 201, answer.text
    return door


async def ask(door: Door, method: str, path: str, **more: Any) -> tuple[int, Any]:
    answer = await door.http.request(method, path, headers=door.admin, **more)
    return answer.status_code, answer.json() if answer.content else None


async def test_an_import_is_an_upload(stocked: Door) -> None:
    status, again = await ask(stocked, "POST", f"{ADMIN}/adapters/import", json=IMPORT)
    assert (status, again["generation"], again["aliases"]) == (200, 2, ["latest"])
    resolved = await stocked.parts.resolver.resolve(Tenant("acme"), f"{BASE.name}@sql")
    assert resolved.adapter == again["digest"]


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"source": "s3://adapters/acme/none"}, 404, "adapter_config.json"),
        ({"source": "https://example.com/x"}, 400, "source: "),
        ({"source": ""}, 400, "source: "),
        ({"name": "No Name"}, 400, "name: "),
        ({"model": 7}, 400, "model: "),
        ({"tenant": "nobody"}, 404, "nobody"),
        ({"token": "x"}, 400, "token: "),
    ],
)
async def test_a_wrong_import_is_one_sentence(stocked: Door, change: dict[str, Any], status: int, words: str) -> None:
    found, body = await ask(stocked, "POST", f"{ADMIN}/adapters/import", json=IMPORT | change)
    assert found == status
    assert words in body["error"]["message"]
    assert "\n" not in body["error"]["message"]


async def test_an_import_counts_against_the_quota(stocked: Door) -> None:
    await ask(stocked, "PATCH", f"{ADMIN}/tenants/acme", json={"limits": {"adapters": 1}})
    status, body = await ask(stocked, "POST", f"{ADMIN}/adapters/import", json=IMPORT | {"name": "second"})
    assert (status, body["error"]["code"]) == (429, "insufficient_quota")


async def test_a_pin_is_set_shown_listed_and_removed(stocked: Door) -> None:
    pin = {"tenant": "acme", "name": "sql", "version": "latest", "tier": "gpu", "engines": 0, "held": 0}
    assert await ask(stocked, "GET", PIN) == (404, {"error": error("'sql' of tenant 'acme' is not pinned")})
    assert await ask(stocked, "PUT", PIN, json={}) == (200, pin)
    changed = pin | {"version": "1", "tier": "host", "engines": 2}
    asked = {"version": "1", "tier": "host", "engines": 2}
    assert await ask(stocked, "PUT", PIN, json=asked) == (200, changed)
    assert await ask(stocked, "GET", PIN) == (200, changed)
    for query, pins in (("", [changed]), ("?tenant=acme", [changed]), ("?tenant=rival", [])):
        assert await ask(stocked, "GET", f"{ADMIN}/pins{query}") == (200, {"object": "list", "data": pins})
    assert await ask(stocked, "DELETE", PIN) == (204, None)
    assert (await ask(stocked, "DELETE", PIN))[0] == 404


def error(words: str) -> dict[str, Any]:
    return {"message": f"The adapter {words}.", "type": "invalid_request_error", "param": None, "code": None}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tier": "disk"}, "tier"),
        ({"engines": -1}, "engines"),
        ({"engines": "all"}, "engines"),
        ({"version": ""}, "version"),
        ({"copies": 2}, "copies"),
    ],
)
async def test_a_wrong_pin_is_one_sentence(stocked: Door, body: dict[str, Any], param: str) -> None:
    status, answer = await ask(stocked, "PUT", PIN, json=body)
    assert (status, answer["error"]["param"]) == (400, param)


async def test_more_pins_than_engines_may_hold_are_a_conflict(stocked: Door, fake_store: FakeStore) -> None:
    fake_store.most_pins = 0
    status, answer = await ask(stocked, "PUT", PIN, json={})
    assert (status, answer["error"]["message"]) == (409, "engines may pin 0")


def resident(digest: str, tier: pb.Tier, state: str = "ready", *, leases: int = 0, pinned: bool = False) -> pb.Resident:
    return pb.Resident(digest=digest, tier=tier, state=state, leases=leases, pinned=pinned, last_use=1_700_000_000.9)


async def test_engines_and_what_they_hold(stocked: Door, fake_store: FakeStore) -> None:
    second, first = fake_store.adapters
    await ask(stocked, "PUT", PIN, json={})
    fake_store.engines = [
        pb.Engine(
            engine_id="e1",
            address="127.0.0.1:8001",
            model=BASE.name,
            started_at=1_700_000_000.4,
            slots=8,
            free_slots=5,
            host_bytes=1000,
            host_bytes_free=400,
            residents=[
                resident(second.digest, pb.TIER_GPU, leases=2, pinned=True),
                resident(first.digest, pb.TIER_HOST, "loading"),
                resident("f" * 64, pb.TIER_GPU, "draining", leases=1),
            ],
        ),
        pb.Engine(engine_id="e2", stalled=True, residents=[resident(first.digest, pb.TIER_HOST)]),
        pb.Engine(engine_id="e3", stalled=True, draining=True),
    ]
    _, found = await ask(stocked, "GET", f"{ADMIN}/engines")
    assert [(engine["id"], engine["state"]) for engine in found["data"]] == [
        ("e1", "ready"),
        ("e2", "stalled"),
        ("e3", "draining"),
    ]
    assert found["data"][0] == {
        "id": "e1",
        "address": "127.0.0.1:8001",
        "model": BASE.name,
        "state": "ready",
        "drained": False,
        "ejected_by": 0,
        "started_at": 1_700_000_000,
        "slots": 8,
        "slots_free": 5,
        "host_bytes": 1000,
        "host_bytes_free": 400,
        "adapters": {"gpu": 2, "host": 1, "loading": 1, "pinned": 1, "leases": 3},
    }
    assert (await ask(stocked, "GET", PIN))[1]["held"] == 1
    _, latest = await ask(stocked, "GET", f"{ADMIN}/adapters/acme/sql/residency")
    assert (latest["generation"], latest["digest"]) == (2, second.digest)
    assert latest["data"] == [
        {
            "engine": "e1",
            "address": "127.0.0.1:8001",
            "engine_state": "ready",
            "tier": "gpu",
            "state": "ready",
            "leases": 2,
            "pinned": True,
            "last_use": 1_700_000_000,
        }
    ]
    _, old = await ask(stocked, "GET", f"{ADMIN}/adapters/acme/sql/residency?generation=1")
    assert [(each["engine"], each["tier"], each["state"]) for each in old["data"]] == [
        ("e1", "host", "loading"),
        ("e2", "host", "ready"),
    ]
    for path, status in (("none/residency", 404), ("sql/residency?generation=9", 404)):
        assert (await ask(stocked, "GET", f"{ADMIN}/adapters/acme/{path}"))[0] == status
    assert (await ask(stocked, "GET", f"{ADMIN}/adapters/acme/sql/residency?generation=0"))[0] == 400


async def test_no_tenants_key_reaches_any_of_it(stocked: Door) -> None:
    own = await stocked.tenant_key("acme", Scope.ADAPTERS)
    for method, path in (
        ("POST", f"{ADMIN}/adapters/import"),
        ("PUT", PIN),
        ("GET", PIN),
        ("DELETE", PIN),
        ("GET", f"{ADMIN}/pins"),
        ("GET", f"{ADMIN}/engines"),
        ("GET", f"{ADMIN}/adapters/acme/sql/residency"),
    ):
        answer = await stocked.http.request(method, path, headers=own)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "permission_denied")


async def test_a_store_that_cannot_see_the_registry_says_so(stocked: Door, fake_store: FakeStore) -> None:
    fake_store.fail_with = (grpc.StatusCode.UNAVAILABLE, "Redis is away")
    status, body = await ask(stocked, "GET", f"{ADMIN}/engines")
    assert (status, "or Redis" in body["error"]["message"]) == (503, True)


async def test_writes_fail_closed_while_redis_is_away(
    database: Database, own_redis_server: RedisServer, fake_store: FakeStore
) -> None:
    async with (
        redis_client(own_redis_server.url) as redis,
        open_door(database, redis, fake_store.address, model=BASE.name) as door,
    ):
        await door.parts.tenants.create(Tenant("acme"))
        own_redis_server.stop()
        for method, path, body in (
            ("POST", f"{ADMIN}/adapters/import", IMPORT),
            ("PUT", PIN, {}),
            ("DELETE", PIN, None),
        ):
            status, answer = await ask(door, method, path, json=body)
            assert (status, "Redis" in answer["error"]["message"]) == (503, True)
