"""Registry and residency in a real Redis."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from chorus_engine.core.load import Residency, SlotState
from chorus_engine.presence import Held, Presence, Registration, connect, merge
from tests.gateway.support.redis_server import RedisServer, redis_client

ONE = Held("11" * 32, SlotState.READY, "gpu", 14, 2, 1_000)
TWO = Held("22" * 32, SlotState.LOADING, "gpu", 7, 0, 2_000)
REGISTRATION = Registration("e1", "10.0.0.1:8001", "tiny", "ab" * 32, 1234.5, 8, 64)
KEY, RESIDENCY = "chorus:engine:{e1}", "chorus:engine:{e1}:residency"


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
        self.held: tuple[Held, ...] = ()
        self.presence = Presence(connect(url, timeout=1.0), REGISTRATION, self._look)
        self.task = asyncio.create_task(self.presence.run())

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.presence.leave()

    async def _look(self) -> tuple[Held, ...]:
        return self.held


@pytest.fixture
async def engine(server: RedisServer) -> AsyncIterator[Engine]:
    engine = Engine(server.url)
    yield engine
    await engine.stop()


async def until(redis: Redis, key: str, expected: set[Any], seconds: float = 5.0) -> float:
    """Seconds until the hash has just these fields."""
    began = time.monotonic()
    while set(await redis.hkeys(key)) != expected:
        assert time.monotonic() - began < seconds, f"{key} has {await redis.hkeys(key)}"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


async def registered(redis: Redis, seconds: float = 5.0) -> None:
    await until(redis, KEY, set(REGISTRATION.fields(draining=False)), seconds)


async def test_an_engine_registers_itself(engine: Engine, redis: Redis) -> None:
    await registered(redis)
    assert await redis.hgetall(KEY) == {
        "address": "10.0.0.1:8001",
        "model": "tiny",
        "model_digest": "ab" * 32,
        "started_at": "1234.500",
        "max_num_seqs": "8",
        "max_lora_rank": "64",
        "draining": "0",
    }
    assert 4000 < await redis.pttl(KEY) <= 6000
    beat = await redis.zscore("chorus:engines", "e1")
    assert beat is not None
    assert abs(beat - time.time() * 1000) < 10_000


async def test_changes_of_residency_are_published_soon(engine: Engine, redis: Redis) -> None:
    await registered(redis)
    engine.held = (ONE, TWO)
    assert await until(redis, RESIDENCY, {ONE.digest, TWO.digest}) < 0.8, "200 ms, on a machine that may be busy"
    raw = await redis.hget(RESIDENCY, ONE.digest)
    assert raw is not None
    assert json.loads(raw) == {"state": "ready", "tier": "gpu", "pages": 14, "leases": 2, "last_use": 1000}
    assert 0 < await redis.pttl(RESIDENCY) <= 6000
    engine.held = (TWO,)
    assert await until(redis, RESIDENCY, {TWO.digest}) < 0.8
    engine.held = ()
    await until(redis, RESIDENCY, set())


async def test_heartbeats_go_on_and_dead_engines_are_swept_away(engine: Engine, redis: Redis) -> None:
    await redis.zadd("chorus:engines", {"dead": 1.0})
    await registered(redis)
    first = await redis.zscore("chorus:engines", "e1")
    await asyncio.sleep(2.3)
    second = await redis.zscore("chorus:engines", "e1")
    assert first is not None
    assert second is not None
    assert 1900 < second - first < 3000
    assert await redis.zscore("chorus:engines", "dead") is None


async def test_a_redis_that_forgot_everything_knows_it_again(engine: Engine, redis: Redis) -> None:
    engine.held = (ONE,)
    await registered(redis)
    await redis.flushall()
    await registered(redis, seconds=3.0)
    await until(redis, RESIDENCY, {ONE.digest})


async def test_a_redis_that_restarts_is_one_line_away_and_one_back(
    engine: Engine, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    engine.held = (ONE,)
    async with redis_client(server.url) as client:
        await registered(client)
    server.stop()
    await asyncio.sleep(0.6)
    server.start()
    async with redis_client(server.url) as client:
        await registered(client, seconds=3.0)
        await until(client, RESIDENCY, {ONE.digest})
    await asyncio.sleep(0.2)
    events = [record.message for record in caplog.records if record.name.startswith("chorus_engine")]
    assert events == ["redis is away; requests go on", "redis is back"]


async def test_draining_shows_at_once_and_leaving_takes_all_away(server: RedisServer, redis: Redis) -> None:
    engine = Engine(server.url)
    engine.held = (ONE,)
    await registered(redis)
    await engine.presence.drain()
    assert await redis.hget(KEY, "draining") == "1"
    await engine.stop()
    assert await redis.keys("*") == []


def test_slots_and_host_memory_are_told_apart() -> None:
    slots = (Residency("a", SlotState.DRAINING, 3, 1, last_use=2.5),)
    held = merge(slots, (("a", 1.0), ("b", 4.0)), epoch=1000.0)
    assert held == (
        Held("a", SlotState.DRAINING, "gpu", 3, 1, 1_002_500),
        Held("b", SlotState.READY, "host", 0, 0, 1_004_000),
    )
