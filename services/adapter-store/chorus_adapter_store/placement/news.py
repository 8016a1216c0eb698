"""Adapters that will be asked for soon, from the store's own events."""

import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

from redis.asyncio import Redis

from chorus_adapter_store.catalog import PlacingCatalog
from chorus_adapter_store.errors import Unavailable
from chorus_adapter_store.events import STREAM, EventKind
from chorus_adapter_store.placement.situation import Warming
from chorus_adapter_store.values import LATEST, AdapterName

WARM_SECONDS = 60.0  # for which an event asks for warmth
BLOCK_SECONDS = 2.0
_MOST = 256  # adapters that are warmed at once
_AT_ONCE = 100  # events
_MOVING = frozenset({EventKind.PUBLISHED.value, EventKind.ALIAS.value})
_log = logging.getLogger(__name__)


class News:
    def __init__(self, redis: Redis, placing: PlacingCatalog) -> None:
        """`redis`: a client of its own, whose socket waits for longer than BLOCK_SECONDS."""
        self._redis = redis
        self._placing = placing
        self._warm: dict[Warming, float] = {}  # until when, the oldest first

    def warmings(self, now: float) -> tuple[Warming, ...]:
        """The newest first. `now`: seconds since 1970, by Redis' clock."""
        self._warm = {warming: until for warming, until in self._warm.items() if now < until}
        return tuple(reversed(self._warm))

    async def follow(self, now: float) -> AsyncIterator[None]:
        """Yields whenever something has changed, beginning with what did a minute ago. Raises RedisError or OSError."""
        last = f"{max(0, int((now - WARM_SECONDS) * 1000))}-0"
        while True:
            answer: Any = await self._redis.xread({STREAM: last}, count=_AT_ONCE, block=int(BLOCK_SECONDS * 1000))
            for _stream, entries in answer or ():
                for entry_id, fields in entries:
                    last = str(entry_id)
                    await self._read(fields, int(last.partition("-")[0]) / 1000)
            if answer:
                yield

    async def _read(self, fields: Mapping[str, str], at: float) -> None:
        try:
            found = await self._meant(fields)
        except Unavailable:
            return  # it is fetched when it is asked for
        for warming in found:
            self._warm.pop(warming, None)
            self._warm[warming] = at + WARM_SECONDS
        for oldest in list(self._warm)[:-_MOST]:
            del self._warm[oldest]

    async def _meant(self, fields: Mapping[str, str]) -> list[Warming]:
        adapter = AdapterName(fields.get("tenant", ""), fields.get("name", ""))
        kind, digest = fields.get("event", ""), fields.get("digest", "")
        if kind == EventKind.RESTORED.value:
            return [Warming(digest)]
        if kind not in _MOVING:
            return []
        after, before = await self._placing.pointed(adapter, fields.get("alias") or LATEST)
        old = [each for each in before if each not in after] or [""]
        return [Warming(each, old[0]) for each in after if each not in before]
