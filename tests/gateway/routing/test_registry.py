"""Engines' announcements in a real Redis."""

from redis.asyncio import Redis

from chorus_gateway.routing.registry import Announcement, RedisRegistry


async def announce(redis: Redis, engine_id: str, address: str, **fields: str) -> None:
    await redis.zadd("chorus:engines", {engine_id: 1})
    for name, value in {"address": address, **fields}.items():
        await redis.hset(f"chorus:engine:{{{engine_id}}}", name, value)


async def test_nobody(redis: Redis) -> None:
    assert await RedisRegistry(redis).read() == []


async def test_engines_and_what_they_say_of_themselves(redis: Redis) -> None:
    await announce(redis, "one", "10.0.0.1:8001", draining="0", stalled="0")
    await announce(redis, "two", "10.0.0.2:8001", draining="1")
    await announce(redis, "three", "10.0.0.3:8001", stalled="1")
    assert sorted(await RedisRegistry(redis).read(), key=lambda engine: engine.address) == [
        Announcement("one", "10.0.0.1:8001"),
        Announcement("two", "10.0.0.2:8001", draining=True),
        Announcement("three", "10.0.0.3:8001", stalled=True),
    ]


async def test_an_engine_whose_heartbeat_lapsed(redis: Redis) -> None:
    await announce(redis, "gone", "10.0.0.1:8001")
    await redis.delete("chorus:engine:{gone}")
    assert await RedisRegistry(redis).read() == []
