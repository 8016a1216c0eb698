import asyncio
import contextlib
from contextlib import AbstractAsyncContextManager
from typing import Any

from redis.asyncio import Redis

from chorus_gateway.background import running
from chorus_gateway.models import Resolver
from chorus_gateway.models.events import follow_adapters
from tests.gateway.support.redis_server import RedisServer, redis_client


class Seen(Resolver):
    """Notes what is invalidated."""

    def __init__(self) -> None:
        self.names: asyncio.Queue[str] = asyncio.Queue()
        self.heard: list[bool] = []

    def invalidate(self, tenant: str, name: str) -> None:
        self.names.put_nowait(f"{tenant}/{name}")

    def hears(self, *, all_events: bool) -> None:
        self.heard.append(all_events)


def following(redis: Redis, seen: Seen) -> AbstractAsyncContextManager[None]:
    return running(follow_adapters(redis, seen), failed=lambda: None)


async def announce_until_seen(redis: Redis, seen: Seen, name: str) -> None:
    """The follower begins at the stream's end, whenever it gets there."""
    for _ in range(1200):
        await redis.xadd("chorus:adapters", {"event": "published", "tenant": "acme", "name": name})
        with contextlib.suppress(TimeoutError):
            assert await asyncio.wait_for(seen.names.get(), 0.05) == f"acme/{name}"
            return
    raise AssertionError("the event was not seen")


async def test_events_invalidate_what_they_name(redis: Redis) -> None:
    seen = Seen()
    async with following(redis, seen):
        await announce_until_seen(redis, seen, "sql")


async def test_what_comes_after_it_begins_to_hear_is_not_missed(redis: Redis) -> None:
    class Announcing(Seen):
        def hears(self, *, all_events: bool) -> None:
            super().hears(all_events=all_events)
            event: dict[Any, Any] = {"event": "deleted", "tenant": "acme", "name": "sql"}
            self.announcing = asyncio.ensure_future(redis.xadd("chorus:adapters", event))

    await redis.xadd("chorus:adapters", {"event": "published", "tenant": "acme", "name": "before"})
    seen = Announcing()
    async with following(redis, seen), asyncio.timeout(60):
        assert await seen.names.get() == "acme/sql"
    assert seen.heard == [True]


async def test_after_an_outage_everything_is_invalidated(own_redis_server: RedisServer) -> None:
    seen = Seen()
    async with redis_client(own_redis_server.url) as redis, following(redis, seen):
        await announce_until_seen(redis, seen, "before")
        own_redis_server.stop()
        await asyncio.sleep(0.1)
        own_redis_server.start()
        await asyncio.sleep(0.1)
        while not seen.names.empty():
            seen.names.get_nowait()
        await announce_until_seen(redis, seen, "after")
        assert (seen.heard[0], seen.heard[1], seen.heard[-1]) == (True, False, True)
