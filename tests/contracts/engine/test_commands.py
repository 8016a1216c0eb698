"""A real engine that the placer commands, as Redis, gateways and metrics see it."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.contracts.engine.support.gateway import open_gateway, sampling, submit
from tests.contracts.engine.support.process import EngineProcess
from tests.contracts.engine.support.store import StoreDouble
from tests.gateway.support.redis_server import RedisServer, redis_client

SECONDS = 60.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def engine(checkpoint: Path, store: StoreDouble, server: RedisServer, tmp_path: Path) -> Iterator[EngineProcess]:
    engine = EngineProcess(checkpoint, tmp_path, store.address, server.url, {"CHORUS_HOST_ADAPTER_MEMORY": "0.05"})
    engine.start()
    yield engine
    assert engine.stop() == 0


class Placer:
    def __init__(self, redis: Redis, engine_id: str) -> None:
        self.redis = redis
        self.key = f"chorus:engine:{{{engine_id}}}"

    async def say(self, command: str, digest: str, tier: str = "gpu", term: int = 5) -> dict[str, str]:
        """The command's result."""
        fields: dict[Any, Any] = {"command": command, "digest": digest, "tier": tier, "term": term, "expires_at": 0}
        entry = await self.redis.xadd(f"{self.key}:commands", fields)
        async with asyncio.timeout(SECONDS):
            while True:
                results: Any = await self.redis.xrange(f"{self.key}:results")
                for _, result in results:
                    if result["command_id"] == entry:
                        return dict(result)
                await asyncio.sleep(0.02)

    async def held(self, digest: str) -> dict[str, Any]:
        raw = await self.redis.hget(f"{self.key}:residency", digest)
        return {} if raw is None else dict(json.loads(raw))

    async def until_held(self, digest: str, **expected: Any) -> dict[str, Any]:
        async with asyncio.timeout(SECONDS):
            while True:
                held = await self.held(digest)
                if expected.items() <= held.items() and bool(expected) == bool(held):
                    return held
                await asyncio.sleep(0.02)


@pytest.fixture
async def placer(engine: EngineProcess, server: RedisServer) -> AsyncIterator[Placer]:
    async with redis_client(server.url) as redis, asyncio.timeout(SECONDS):
        ids: list[Any] = []
        while not ids:
            await asyncio.sleep(0.02)
            ids = await redis.zrange("chorus:engines", 0, -1)
        yield Placer(redis, str(ids[0]))


async def test_the_way_of_a_pinned_adapter(engine: EngineProcess, placer: Placer, store: StoreDouble) -> None:
    digest = next(iter(store.files))
    async with open_gateway(engine.address) as gateway:
        assert (await placer.say("pin", digest))["status"] == "done"
        held = await placer.until_held(digest, tier="gpu", state="ready", pinned="gpu", leases=0)
        assert min(held["pages"], held["bytes"]) > 0
        await gateway.wait_for(lambda: gateway.tiers.get(digest) == pb.TIER_GPU)
        fetched = store.fetched.count(digest)
        await gateway.ask(submit("a", adapter_digest=digest, sampling=sampling(4)))
        assert store.fetched.count(digest) == fetched, "its first request waits for nothing"

        refused = await placer.say("drain", digest)
        assert (refused["status"], refused["reason"]) == ("refused", "it is pinned; unpin it first.")
        stale = await placer.say("unpin", digest, term=4)
        assert stale["reason"] == "its term is 4 and term 5 has begun."
        assert (await placer.say("unpin", digest))["status"] == "done"
        await placer.until_held(digest, tier="gpu", pinned="")

        assert (await placer.say("drain", digest))["status"] == "done"
        await placer.until_held(digest, tier="host", state="ready", pages=0)
        await gateway.wait_for(lambda: gateway.tiers.get(digest) == pb.TIER_HOST)
        assert (await placer.say("drain", digest, "host"))["status"] == "done"
        await gateway.wait_for(lambda: digest not in gateway.tiers)
        await placer.until_held(digest)  # nowhere
        unknown = await placer.say("prefetch", "ef" * 32, "host")
        assert unknown["status"] == "failed"
        assert "ef" * 32 in unknown["reason"]


async def test_a_redis_that_forgets_everything_hurts_nobody(
    engine: EngineProcess, placer: Placer, store: StoreDouble
) -> None:
    digest = next(iter(store.files))
    async with open_gateway(engine.address) as gateway:
        assert (await placer.say("prefetch", digest))["status"] == "done"
        await gateway.submit(submit("a", adapter_digest=digest, sampling=sampling(200, ignore_eos=True)))
        await placer.redis.flushall()
        await placer.until_held(digest, tier="gpu")
        assert (await placer.say("pin", digest))["status"] == "done"
        await placer.until_held(digest, pinned="gpu")
        assert await placer.redis.hget(placer.key, "stalled") == "0"
        assert len((await gateway.answer("a")).token_ids) == 200
