"""Why an engine gets no new requests, where it does not say so itself: an administrator's order, or gateways that
ejected it. Kept in Redis, so that all gateways obey the first and administrators see both."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from redis.asyncio import Redis

DRAINS = "chorus:drains"
DRAIN_SECONDS = 24 * 3600  # that an order outlives the last gateway that knows its engine
EJECTED_SECONDS = 3.0  # that an ejection is shown after its gateway last said so


@dataclass(frozen=True, slots=True)
class Intervention:
    drained: bool = False  # an administrator's order
    ejected_by: int = 0  # gateway processes


class Interventions(Protocol):
    async def drained(self, engines: Collection[str]) -> frozenset[str]:
        """Which of the engines (ids) are to drain. redis.RedisError or OSError when nobody knows."""
        ...

    async def show_ejected(self, engines: Collection[str]) -> None:
        """This process has ejected them; to be said again every second."""
        ...


class NoInterventions:
    async def drained(self, engines: Collection[str]) -> frozenset[str]:
        return frozenset()

    async def show_ejected(self, engines: Collection[str]) -> None:
        return None


class RedisInterventions:
    """`redis` decodes answers to str. An order is "1", its end "0": what is missing was lost, and whoever knew the
    order says it again."""

    def __init__(self, redis: Redis, worker_id: str) -> None:
        self._redis = redis
        self._worker_id = worker_id
        self._known: frozenset[str] = frozenset()

    async def order(self, engine: str, *, drained: bool) -> None:
        """Every gateway obeys within a second."""
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hset(DRAINS, engine, str(int(drained)))
        pipeline.expire(DRAINS, DRAIN_SECONDS)
        await pipeline.execute()

    async def alive(self, engine: str) -> bool:
        """Whether it has announced itself."""
        return bool(await self._redis.exists(f"chorus:engine:{{{engine}}}"))

    async def drained(self, engines: Collection[str]) -> frozenset[str]:
        orders: dict[Any, Any] = await self._redis.hgetall(DRAINS)
        lost = [engine for engine in self._known if engine in engines and engine not in orders]
        for engine in lost:
            await self._redis.hsetnx(DRAINS, engine, "1")
        ordered = frozenset(engine for engine in engines if orders.get(engine) == "1")
        if ordered or lost:
            await self._redis.expire(DRAINS, DRAIN_SECONDS)
        self._known = ordered.union(lost)
        return self._known

    async def show_ejected(self, engines: Collection[str]) -> None:
        for engine in engines:
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.zadd(_ejected(engine), {self._worker_id: time.time() + EJECTED_SECONDS})
            pipeline.expire(_ejected(engine), 10)
            await pipeline.execute()

    async def of(self, engines: Sequence[str]) -> dict[str, Intervention]:
        """redis.RedisError or OSError when nobody knows."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hgetall(DRAINS)
        for engine in engines:
            pipeline.zcount(_ejected(engine), time.time(), "+inf")
        orders, *counts = await pipeline.execute()
        return {
            engine: Intervention(orders.get(engine) == "1", int(count))
            for engine, count in zip(engines, counts, strict=True)
        }


def _ejected(engine: str) -> str:
    return f"chorus:ejected:{{{engine}}}"
