"""Registry and residency in a real Redis."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from chorus_engine.core.commands import Command, Outcome, Status
from chorus_engine.core.load import Held, HostMemory, SlotState, Tier
from chorus_engine.presence.holdings import Holdings
from chorus_engine.presence.outage import Outage
from chorus_engine.presence.presence import Presence
from chorus_engine.presence.records import Condition, Registration, Room
from chorus_engine.presence.redis_url import connect
from chorus_engine.presence.registry import Registry
from tests.gateway.support.redis_server import RedisServer, redis_client

ONE = Held("11" * 32, Tier.GPU, SlotState.READY, 1000, 14, 2, last_use=1.0, pinned=Tier.GPU)
TWO = Held("22" * 32, Tier.GPU, SlotState.LOADING, 500, 7)
REGISTRATION = Registration("e1", "10.0.0.1:8001", "tiny", "ab" * 32, 1234.5, 8, 64, ("embed_tokens", "lm_head"))
KEY, RESIDENCY = "chorus:engine:{e1}", "chorus:engine:{e1}:residency"
HOST = HostMemory(total=5000, used=700, available=4400, pinned=0, pinnable=2500)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[Redis]:
    async with redis_client(server.url) as client:
        yield client


class Engine:
    """A presence that runs, and what it is told the engine holds."""

    def __init__(self, url: str) -> None:
        self.holdings = Holdings(4, 8000, HOST)
        self.stalled = False
        self.presence = Presence(
            connect(url, timeout=1.0),
            REGISTRATION,
            condition=lambda: Condition(self.holdings.room(), term=3, stalled=self.stalled),
            held=self.holdings.all,
            epoch=1000.0,
            outage=Outage(),
        )
        self.task = asyncio.create_task(self.presence.run())

    def hold(self, *held: Held, gone: tuple[Held, ...] = ()) -> None:
        changes: dict[str, Held | None] = {each.digest: each for each in held}
        changes.update((each.digest, None) for each in gone)
        self.holdings.take(changes, HOST)
        self.presence.changed(changes)

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.presence.leave()


@pytest.fixture
async def engine(server: RedisServer) -> AsyncIterator[Engine]:
    engine = Engine(server.url)
    yield engine
    await engine.stop()


async def until(redis: Redis, key: str, expected: set[Any], seconds: float = 60.0) -> None:
    """Until the hash has just these fields."""
    began = time.monotonic()
    while set(await redis.hkeys(key)) != expected:
        assert time.monotonic() - began < seconds, f"{key} has {await redis.hkeys(key)}"
        await asyncio.sleep(0.01)


async def told(redis: Redis, flag: str) -> None:
    began = time.monotonic()
    while await redis.hget(KEY, flag) != "1":
        assert time.monotonic() - began < 60.0
        await asyncio.sleep(0.01)


async def said(caplog: pytest.LogCaptureFixture, lines: int) -> list[str]:
    """What the engine has logged, once it is so many lines."""
    async with asyncio.timeout(60):
        while True:
            found = [record.message for record in caplog.records if record.name.startswith("chorus_engine")]
            if len(found) >= lines:
                return found
            await asyncio.sleep(0.01)


async def registered(redis: Redis) -> None:
    fields = {**REGISTRATION.fields(), **Condition(Holdings(0, 0, HOST).room(), 0).fields()}
    await until(redis, KEY, set(fields))


async def test_an_engine_registers_itself(engine: Engine, redis: Redis) -> None:
    await registered(redis)
    assert await redis.hgetall(KEY) == {
        "address": "10.0.0.1:8001",
        "model": "tiny",
        "model_digest": "ab" * 32,
        "started_at": "1234.500",
        "max_num_seqs": "8",
        "max_lora_rank": "64",
        "outer_modules": "embed_tokens lm_head",
        "draining": "0",
        "stalled": "0",
        "term": "3",
        "slots": "4",
        "slots_free": "4",
        "pool_bytes": "8000",
        "pool_bytes_free": "8000",
        "host_bytes": "5000",
        "host_bytes_free": "4400",
        "pin_bytes": "4000",
        "pin_bytes_free": "4000",
    }
    assert 4000 < await redis.pttl(KEY) <= 6000
    beat = await redis.zscore("chorus:engines", "e1")
    assert beat is not None
    assert abs(beat - time.time() * 1000) < 10_000


async def test_changes_of_residency_are_published_soon(engine: Engine, redis: Redis) -> None:
    await registered(redis)
    engine.hold(ONE, TWO)
    await until(redis, RESIDENCY, {ONE.digest, TWO.digest})
    raw = await redis.hget(RESIDENCY, ONE.digest)
    assert raw is not None
    assert json.loads(raw) == {
        "tier": "gpu",
        "state": "ready",
        "pages": 14,
        "bytes": 1000,
        "leases": 2,
        "last_use": 1001000,
        "pinned": "gpu",
    }
    assert 0 < await redis.pttl(RESIDENCY) <= 6000
    engine.hold(gone=(ONE,))
    await until(redis, RESIDENCY, {TWO.digest})
    engine.hold(gone=(TWO,))
    await until(redis, RESIDENCY, set())


async def test_what_changes_while_it_is_told_is_told_too(engine: Engine, redis: Redis) -> None:
    await registered(redis)
    many = [replace(TWO, digest=f"{i:064x}") for i in range(200)]
    for each in many:
        engine.hold(each)
        await asyncio.sleep(0.001)
    await until(redis, RESIDENCY, {each.digest for each in many})


async def test_a_stall_is_told_at_once(engine: Engine, redis: Redis) -> None:
    await registered(redis)
    engine.stalled = True
    engine.presence.hurry()
    await told(redis, "stalled")


async def test_heartbeats_go_on_and_dead_engines_are_swept_away(engine: Engine, redis: Redis) -> None:
    await redis.zadd("chorus:engines", {"dead": 1.0})
    await registered(redis)
    first = await redis.zscore("chorus:engines", "e1")
    assert first is not None
    async with asyncio.timeout(60):
        while (second := await redis.zscore("chorus:engines", "e1")) == first:  # noqa: ASYNC110 - of Redis
            await asyncio.sleep(0.05)
    assert second is not None
    assert second - first > 1900
    assert await redis.zscore("chorus:engines", "dead") is None


async def test_a_redis_that_forgot_everything_knows_it_again(engine: Engine, redis: Redis) -> None:
    engine.hold(ONE)
    await registered(redis)
    await until(redis, RESIDENCY, {ONE.digest})
    await redis.flushall()
    engine.hold(TWO)
    await registered(redis)
    await until(redis, RESIDENCY, {ONE.digest, TWO.digest})


async def test_a_redis_that_restarts_is_one_line_away_and_one_back(
    engine: Engine, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    engine.hold(ONE)
    async with redis_client(server.url) as client:
        await registered(client)
    server.stop()
    engine.hold(TWO)
    await said(caplog, 1)
    server.start()
    async with redis_client(server.url) as client:
        await registered(client)
        await until(client, RESIDENCY, {ONE.digest, TWO.digest})
    assert await said(caplog, 2) == ["redis is away; requests go on", "redis is back"]


async def test_leaving_takes_all_away(server: RedisServer, redis: Redis) -> None:
    engine = Engine(server.url)
    engine.hold(ONE)
    await registered(redis)
    await engine.stop()
    assert await redis.keys("*") == []


def test_room_counts_what_would_give_way_as_free() -> None:
    holdings = Holdings(4, 8000, HOST)
    idle = replace(ONE, digest="33" * 32, leases=0, pinned=None)
    host = Held("44" * 32, Tier.HOST, SlotState.READY, 300, hosted=True)
    holdings.take({each.digest: each for each in (ONE, TWO, idle, host)}, HOST)
    room = holdings.room()
    assert (room.slots, room.slots_free) == (4, 2)
    assert (room.pool_bytes_free, room.pin_bytes_free) == (6500, 3000)
    assert [len(holdings.in_tier(tier)) for tier in (Tier.GPU, Tier.HOST)] == [3, 1]
    holdings.take({ONE.digest: None}, HOST)
    assert holdings.room().slots_free == 3
    assert holdings.get(ONE.digest) is None


async def test_a_heartbeat_that_broke_begins_anew(
    server: RedisServer, redis: Redis, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    holdings = Holdings(4, 8000, HOST)
    room, broken = holdings.room, [ValueError("a bug")]

    def look() -> Room:
        if broken:
            raise broken.pop()
        return room()

    async def refuse(command: Command) -> Outcome:
        return Outcome(Status.REFUSED)

    monkeypatch.setattr(holdings, "room", look)
    registry = Registry(
        server.url, REGISTRATION, holdings, execute=refuse, ended=lambda verb, status: None, timeout=1.0
    )
    running = asyncio.create_task(registry.run())
    await registered(redis)
    assert caplog.messages.count("what speaks to redis broke") == 1
    registry.set_stalled(True)
    await told(redis, "stalled")
    await registry.drain()
    assert await redis.hget(KEY, "draining") == "1"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await registry.leave()
    assert await redis.keys("*") == []
