"""The loop around placing: one store at a time leads, the others wait for the lock."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from redis.exceptions import RedisError

from chorus_adapter_store.catalog import TermCatalog
from chorus_adapter_store.errors import Unavailable
from chorus_adapter_store.outage import Outage
from chorus_adapter_store.placement.knowledge import Knowledge
from chorus_adapter_store.placement.lock import Lock
from chorus_adapter_store.placement.news import News
from chorus_adapter_store.placement.tenure import Tenure
from chorus_adapter_store.placement.view import View
from chorus_adapter_store.telemetry.metrics import Metrics

_TICK = 0.5  # seconds between two decisions
_SHORTEST = 0.1  # and when events come one after the other
_BEAT = 1.0  # seconds between renewals of the lock, and between attempts to get it
_AWAY = (RedisError, OSError)
_log = logging.getLogger(__name__)


class _Lost(Exception):
    """The lock is not this store's any more."""


class Placer:
    def __init__(
        self,
        lock: Lock,
        terms: TermCatalog,
        view: View,
        news: News,
        knowledge: Knowledge,
        metrics: Metrics,
        tenure: Callable[[int], Tenure],
    ) -> None:
        """`tenure`: begins one, given its term."""
        self._lock = lock
        self._terms = terms
        self._view = view
        self._news = news
        self._knowledge = knowledge
        self._metrics = metrics
        self._tenure = tenure
        self._changed = asyncio.Event()
        self._redis_away = Outage("Redis (placement)", _log)
        self._catalog_away = Outage("the catalog (the placer's term)", _log)

    async def run(self) -> None:
        """Until cancelled; then whoever is next need not wait for the lock to lapse."""
        while True:
            await self._guard(self._campaign)
            await asyncio.sleep(_BEAT)

    async def _campaign(self) -> None:
        acquired = await self._lock.acquire()
        self._redis_away.worked()
        if not acquired:
            return
        try:
            # The lock is asked again after the term is taken: whoever held it in between has a lower one.
            term = await self._terms.take()
            self._catalog_away.worked()
            if await self._lock.renew():
                await self._lead(term)
        finally:
            self._metrics.placer_leading.set(0)
            with suppress(*_AWAY):
                await self._lock.release()

    async def _lead(self, term: int) -> None:
        self._metrics.placer_leading.set(1)
        self._metrics.placer_term.set(term)
        _log.info("placing adapters", extra={"term": term})
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_lock())
                tasks.create_task(self._follow())
                tasks.create_task(self._decide(self._tenure(term)))
        except* _Lost:
            _log.info("no longer placing adapters", extra={"term": term})

    async def _keep_lock(self) -> None:
        while True:
            await asyncio.sleep(_BEAT)
            try:
                kept = await self._lock.renew()
            except _AWAY:
                kept = self._lock.certain
            if not kept:
                raise _Lost

    async def _decide(self, tenure: Tenure) -> None:
        async def tick() -> None:
            await tenure.tick()
            self._redis_away.worked()

        while True:
            await self._guard(tick)
            await asyncio.sleep(_SHORTEST)
            with suppress(TimeoutError):
                async with asyncio.timeout(_TICK - _SHORTEST):
                    await self._changed.wait()
            self._changed.clear()

    async def _follow(self) -> None:
        """Events make the next decision come at once."""
        while True:
            with suppress(*_AWAY):
                sight = await self._view.engines()
                async for _ in self._news.follow(sight.now):
                    self._knowledge.forget()
                    self._changed.set()
            await asyncio.sleep(_BEAT)

    async def _guard(self, act: Callable[[], Awaitable[None]]) -> None:
        """One log line an outage, however often it is tried."""
        try:
            await act()
        except _AWAY as error:
            self._redis_away.failed(error)
        except Unavailable as error:
            self._catalog_away.failed(error)
        except Exception:
            _log.exception("placing adapters failed; it is tried again")
