"""Heartbeat and residency. Nothing that serves requests waits for any of it."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from redis.asyncio import Redis
from redis.exceptions import RedisError

from chorus_engine.presence.records import ENGINES_KEY, HEARTBEAT, TTL, Fields, Held, Registration

log = logging.getLogger(__name__)

INTERVAL = 0.1  # seconds between two looks at what the engine holds
FORGOTTEN = 60_000  # ms without a heartbeat after which an engine's entry is swept away


class Presence:
    """Registers the engine and publishes its residency.

    Changes go out within 200 ms and everything with each heartbeat, so that a Redis that lost its memory has it again
    within 2 s. Redis away is one log line, and one more when it is back.
    """

    def __init__(
        self,
        redis: Redis,
        registration: Registration,
        held: Callable[[], Awaitable[tuple[Held, ...]]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._registration = registration
        self._held = held
        self._clock = clock
        self._published: Fields = {}  # digest -> JSON
        self._next_beat = 0.0
        self._draining = False
        self._away = False

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._guard(self._tick)
            await asyncio.sleep(INTERVAL)

    async def drain(self) -> None:
        """Ask gateways, at once, to send nothing new."""
        self._draining = True
        await self._guard(self._beat)

    async def leave(self) -> None:
        """Take the engine out of the registry and close the connection."""
        await self._guard(self._remove)
        await self._redis.aclose()

    async def _tick(self) -> None:
        if self._clock() >= self._next_beat:
            await self._beat()
        else:
            await self._publish_changes()

    async def _beat(self) -> None:
        """Everything, as if Redis knew nothing."""
        registration = self._registration
        records: Fields = {held.digest: held.to_json() for held in await self._held()}
        seconds, microseconds = await self._redis.time()
        now = seconds * 1000 + microseconds // 1000
        pipe = self._redis.pipeline(transaction=True)
        pipe.zadd(ENGINES_KEY, {registration.engine_id: now})
        pipe.zremrangebyscore(ENGINES_KEY, 0, now - FORGOTTEN)
        pipe.hset(registration.key, mapping=registration.fields(draining=self._draining))
        pipe.pexpire(registration.key, int(TTL * 1000))
        pipe.delete(registration.residency_key)
        if records:
            pipe.hset(registration.residency_key, mapping=records)
            pipe.pexpire(registration.residency_key, int(TTL * 1000))
        await pipe.execute()
        self._published = records
        self._next_beat = self._clock() + HEARTBEAT

    async def _publish_changes(self) -> None:
        records: Fields = {held.digest: held.to_json() for held in await self._held()}
        changed: Fields = {
            digest: record for digest, record in records.items() if self._published.get(digest) != record
        }
        gone = self._published.keys() - records.keys()
        if not changed and not gone:
            return
        key = self._registration.residency_key
        pipe = self._redis.pipeline(transaction=True)
        if gone:
            pipe.hdel(key, *gone)
        if changed:
            pipe.hset(key, mapping=changed)
        pipe.pexpire(key, int(TTL * 1000))
        await pipe.execute()
        self._published = records

    async def _remove(self) -> None:
        registration = self._registration
        pipe = self._redis.pipeline(transaction=True)
        pipe.zrem(ENGINES_KEY, registration.engine_id)
        pipe.delete(registration.key, registration.residency_key)
        await pipe.execute()

    async def _guard(self, act: Callable[[], Awaitable[None]]) -> None:
        try:
            await act()
        except (RedisError, OSError, TimeoutError) as error:
            self._next_beat = 0.0  # everything anew as soon as Redis is back
            if not self._away:
                log.warning("redis is away; requests go on", extra={"error": str(error)})
            self._away = True
        else:
            if self._away:
                log.warning("redis is back")
            self._away = False
