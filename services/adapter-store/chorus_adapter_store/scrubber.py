"""Reads what is stored again, slowly, so that damage is found before somebody asks for the bytes."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import aclosing

from chorus_adapter_store.blobs import Blobs, Damage, MemoryBlobs
from chorus_adapter_store.catalog import Retention
from chorus_adapter_store.errors import DataLoss, Unavailable
from chorus_adapter_store.outage import Outage

_PAGE = 500
_ROUND_SECONDS = 86_400.0  # from the beginning of one round to the next
_PAUSE = 60.0  # seconds between looks at what is known to be damaged
_log = logging.getLogger(__name__)


class Scrubber:
    def __init__(
        self,
        retention: Retention,
        durable: Blobs,
        memory: MemoryBlobs,
        damage: Damage,
        *,
        speed: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`durable` is what `memory` stands before. `speed` in bytes a second."""
        self._retention = retention
        self._durable = durable
        self._memory = memory
        self._damage = damage
        self._speed = speed
        self._clock = clock

    async def round(self) -> None:
        """Every blob that the catalog names, once. Raises Unavailable."""
        after = ""
        while page := await self._retention.named(after, _PAGE):
            for sha256, size in page:
                await self.examine(sha256, size)
            after = page[-1][0]

    async def again(self) -> None:
        """Those that were damaged: an upload may have brought them back, or nobody names them now."""
        for sha256, size in self._damage.known():
            await self.examine(sha256, size)

    async def examine(self, sha256: str, size: int) -> None:
        try:
            async with aclosing(self._durable.read(sha256, size)) as chunks:
                async for chunk in chunks:
                    await asyncio.sleep(len(chunk) / self._speed)
        except DataLoss as loss:
            await self._mend(sha256, size, loss)
        else:
            self._damage.mended(sha256)

    async def run(self) -> None:
        outage = Outage("the catalog, the disk or the bucket (scrub)", _log)
        due = self._clock()
        while True:
            try:
                if self._clock() >= due:
                    due = self._clock() + _ROUND_SECONDS
                    await self.round()
                await self.again()
            except Unavailable as error:
                outage.failed(error)
            except Exception:
                _log.exception("the scrub failed; the next round tries again")
            else:
                outage.worked()
            await asyncio.sleep(_PAUSE)

    async def _mend(self, sha256: str, size: int, loss: DataLoss) -> None:
        if not await self._retention.names(sha256):
            self._damage.mended(sha256)  # removed meanwhile
        elif await self._memory.repair(sha256):
            self._damage.mended(sha256)
            _log.warning("a blob was missing or damaged and is written anew from memory", extra={"sha256": sha256})
        else:
            self._damage.found(sha256, size, loss)
