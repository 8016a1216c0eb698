"""Which engines get no new requests, as administrators see it and order it."""

import pytest
from redis.asyncio import Redis

from chorus_gateway.routing.interventions import RedisInterventions
from chorus_proto.adapters.v1 import adapters_pb2 as pb
from tests.gateway.support.door import Door
from tests.gateway.support.fake_store import FakeStore

ENGINES = "/admin/v1/engines"


@pytest.fixture
async def engines(fake_store: FakeStore, redis: Redis) -> None:
    fake_store.engines = [pb.Engine(engine_id="e1"), pb.Engine(engine_id="e2")]
    for engine in fake_store.engines:
        await redis.hset(f"chorus:engine:{{{engine.engine_id}}}", "address", "127.0.0.1:1")


async def states(door: Door) -> list[tuple[str, bool, int]]:
    answer = await door.http.get(ENGINES, headers=door.admin)
    assert answer.status_code == 200, answer.text
    return [(each["state"], each["drained"], each["ejected_by"]) for each in answer.json()["data"]]


@pytest.mark.usefixtures("engines")
async def test_an_engine_drains_by_order_until_it_is_undone(door: Door, redis: Redis) -> None:
    gateway = RedisInterventions(redis, "another")
    for _ in range(2):
        assert (await door.http.post(f"{ENGINES}/e1/drain", headers=door.admin)).status_code == 204
    assert await gateway.drained(["e1", "e2"]) == {"e1"}
    assert await states(door) == [("draining", True, 0), ("ready", False, 0)]
    for _ in range(2):
        assert (await door.http.delete(f"{ENGINES}/e1/drain", headers=door.admin)).status_code == 204
    assert await gateway.drained(["e1", "e2"]) == frozenset()
    assert await states(door) == [("ready", False, 0)] * 2


@pytest.mark.usefixtures("engines")
async def test_ejections_by_other_gateways_are_shown(door: Door, redis: Redis) -> None:
    for worker in ("a", "b"):
        await RedisInterventions(redis, worker).show_ejected(["e2"])
    assert await states(door) == [("ready", False, 0), ("ready", False, 2)]


@pytest.mark.usefixtures("engines")
async def test_an_engine_that_is_not_alive_cannot_drain(door: Door) -> None:
    answer = await door.http.post(f"{ENGINES}/e9/drain", headers=door.admin)
    assert answer.status_code == 404
    assert "No engine 'e9' is alive" in answer.json()["error"]["message"]
    tenant = await door.tenant_key("acme")
    assert (await door.http.post(f"{ENGINES}/e1/drain", headers=tenant)).status_code == 403
