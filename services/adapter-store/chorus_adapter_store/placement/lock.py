"""Who places: one store at a time."""

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from redis.asyncio import Redis

from chorus_adapter_store.placement.keys import LOCK

HOLD_SECONDS = 5.0
_RENEW = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class Lock:
    """Every method raises RedisError or OSError when Redis is away.

    Redis alone says who holds it. `certain` is this side's own clock, for when Redis cannot be asked: it ends before
    Redis would let another take the lock.
    """

    def __init__(self, redis: Redis, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`name`: of this store, for whoever looks at the key."""
        self._redis = redis
        self._name = name
        self._clock = clock
        self._holder = ""
        self._until = 0.0

    @property
    def certain(self) -> bool:
        return bool(self._holder) and self._clock() < self._until

    async def acquire(self) -> bool:
        """Each holding has a value of its own: one that lapsed and was taken again is another."""
        holder, asked = f"{self._name}:{uuid4().hex}", self._clock()
        taken = await self._redis.set(LOCK, holder, nx=True, px=int(HOLD_SECONDS * 1000))
        if taken:
            self._holder, self._until = holder, asked + HOLD_SECONDS
        return bool(taken)

    async def renew(self) -> bool:
        """False when it is another's by now, or nobody's."""
        asked = self._clock()
        kept = bool(await self._run(_RENEW, int(HOLD_SECONDS * 1000)))
        self._until = asked + HOLD_SECONDS if kept else 0.0
        return kept

    async def held(self) -> bool:
        """Whether it is still this holder's, as Redis says now."""
        return self.certain and await self._redis.get(LOCK) == self._holder

    async def release(self) -> None:
        self._until = 0.0
        if self._holder:
            await self._run(_RELEASE)
            self._holder = ""

    async def _run(self, script: str, *arguments: int) -> Any:
        return await self._redis.eval(script, 1, LOCK, self._holder, *(str(each) for each in arguments))
