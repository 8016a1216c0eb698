"""Heartbeat and residency. Nothing that serves requests waits for any of it."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from redis.asyncio import Redis

from chorus_engine.core.load import Held
from chorus_engine.presence.outage import Outage
from chorus_engine.presence.records import (
    COMMANDS_TTL,
    ENGINES_KEY,
    HEARTBEAT,
    TTL,
    Condition,
    Fields,
    Registration,
    to_json,
)

SETTLE = 0.03  # seconds from a change until it is published, with what else changed meanwhile
AWAY = 0.25  # seconds between two tries while Redis is away
FORGOTTEN = 60_000  # ms without a heartbeat after which an engine's entry is swept away


class Presence:
    """Registers the engine and publishes its residency.

    Changes go out as they come. With each heartbeat Redis is asked how many adapters it knows of, and is told
    everything when that is not what it was told, so that one that lost its memory has it again within 2 s.
    """

    def __init__(
        self,
        redis: Redis,
        registration: Registration,
        *,
        condition: Callable[[], Condition],
        held: Callable[[], Iterable[Held]],
        epoch: float,
        outage: Outage,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`held()`: all that the engine holds now; who changes it says so by `changed`."""
        self._redis = redis
        self._registration = registration
        self._keys = registration.keys
        self._condition = condition
        self._held = held
        self._epoch = epoch
        self._clock = clock
        self._published: Fields = {}  # digest -> JSON
        self._next_beat = 0.0
        self._whole = True  # whether the next word must be everything
        self._changed: dict[str, Held | None] = {}
        self._news = asyncio.Event()
        self._outage = outage

    def changed(self, changes: Mapping[str, Held | None]) -> None:
        """Adapters as they are now; None is gone."""
        self._changed.update(changes)
        self._news.set()

    def hurry(self) -> None:
        """A heartbeat now: the condition changed, or Redis seems to have lost its memory."""
        self._next_beat = 0.0
        self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            there = await self._guarded()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._next_beat - self._clock())):
                    await self._news.wait()
            await asyncio.sleep(SETTLE if there else AWAY)

    async def beat(self) -> None:
        """A heartbeat, here and now."""
        self._next_beat = 0.0
        await self._guarded()

    async def leave(self) -> None:
        """Take the engine out of the registry and close the connection."""
        await self._outage.guard("presence", self._remove)
        await self._redis.aclose()

    async def _remove(self) -> None:
        await self._redis.zrem(ENGINES_KEY, self._registration.engine_id)
        keys = self._keys
        await self._redis.delete(keys.engine, keys.residency, keys.commands, keys.results)

    async def _guarded(self) -> bool:
        self._news.clear()
        done = await self._outage.guard("presence", self._tell)
        if not done:
            self._next_beat, self._whole = 0.0, True
        return done

    async def _tell(self) -> None:
        if self._clock() >= self._next_beat:
            await self._beat()
            self._next_beat = self._clock() + HEARTBEAT
        if self._whole:
            await self._tell_all()
        elif self._changed:
            await self._tell_changes()

    async def _beat(self) -> None:
        seconds, microseconds = await self._redis.time()
        now = seconds * 1000 + microseconds // 1000
        await self._redis.zadd(ENGINES_KEY, {self._registration.engine_id: now})
        await self._redis.zremrangebyscore(ENGINES_KEY, 0, now - FORGOTTEN)
        pipe = self._redis.pipeline(transaction=True)
        pipe.hset(self._keys.engine, mapping={**self._registration.fields(), **self._condition().fields()})
        pipe.pexpire(self._keys.engine, int(TTL * 1000))
        pipe.pexpire(self._keys.residency, int(TTL * 1000))
        pipe.pexpire(self._keys.commands, int(COMMANDS_TTL * 1000))
        pipe.hlen(self._keys.residency)
        if (await pipe.execute())[-1] != len(self._published):
            self._whole = True

    async def _tell_all(self) -> None:
        self._changed = {}
        records: Fields = {held.digest: to_json(held, self._epoch) for held in self._held()}
        pipe = self._redis.pipeline(transaction=True)
        pipe.delete(self._keys.residency)
        if records:
            pipe.hset(self._keys.residency, mapping=records)
            pipe.pexpire(self._keys.residency, int(TTL * 1000))
        await pipe.execute()
        self._published, self._whole = records, False

    async def _tell_changes(self) -> None:
        changed, self._changed = self._changed, {}
        records: Fields = {digest: to_json(held, self._epoch) for digest, held in changed.items() if held is not None}
        gone = [digest for digest, held in changed.items() if held is None and digest in self._published]
        pipe = self._redis.pipeline(transaction=True)
        if gone:
            pipe.hdel(self._keys.residency, *gone)
        if records:
            pipe.hset(self._keys.residency, mapping=records)
        pipe.pexpire(self._keys.residency, int(TTL * 1000))
        await pipe.execute()
        self._published.update(records)
        for digest in gone:
            del self._published[digest]
