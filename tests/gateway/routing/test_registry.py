"""Engines' announcements in a real Redis."""

import json

from redis.asyncio import Redis

from chorus_gateway.routing.registry import Announcement, RedisRegistry


async def announce(redis: Redis, engine_id: str, address: str, **fields: str) -> None:
    await redis.zadd("chorus:engines", {engine_id: 1})
    for name, value in {"address": address, **fields}.items():
        await redis.hset(f"chorus:engine:{{{engine_id}}}", name, value)


async def test_nobody(redis: Redis) -> None:
    assert await RedisRegistry(redis).read() == []


async def test_engines_with_their_adapters(redis: Redis) -> None:
    await announce(redis, "one", "10.0.0.1:8001")
    await announce(redis, "two", "10.0.0.2:8001", draining="1")
    states = {
        "d1": {"state": "ready", "tier": "gpu", "pages": 3},
        "d2": {"state": "ready", "tier": "host"},
        "d3": {"state": "loading", "tier": "gpu"},
    }
    await redis.hset(
        "chorus:engine:{one}:residency", mapping={digest: json.dumps(state) for digest, state in states.items()}
    )
    found = {announcement.engine_id: announcement for announcement in await RedisRegistry(redis).read()}
    assert found == {
        "one": Announcement("one", "10.0.0.1:8001", tiers={"d1": "gpu", "d2": "host"}),
        "two": Announcement("two", "10.0.0.2:8001", draining=True),
    }


async def test_an_engine_whose_heartbeat_lapsed(redis: Redis) -> None:
    await announce(redis, "gone", "10.0.0.1:8001")
    await redis.delete("chorus:engine:{gone}")
    assert await RedisRegistry(redis).read() == []
