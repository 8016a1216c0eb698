"""When keys were last used, written down in batches beside the requests' way."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from chorus_gateway.errors import Unavailable

FLUSH_SECONDS = 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Use:
    at: float  # seconds since 1970
    fingerprint: bytes | None = None  # under the pepper of today, of a key that is stored under the one before


class UseBook(Protocol):
    async def note_uses(self, uses: Mapping[str, Use]) -> None:
        """By key id. Unavailable when the database does not answer."""
        ...


class LastUsed:
    """One entry for each valid key that was used since the last flush, however often. A flush that fails is made up
    for by the next; what a killed process had not flushed is lost."""

    def __init__(self, book: UseBook) -> None:
        self._book = book
        self._uses: dict[str, Use] = {}

    def note(self, key_id: str, at: float, fingerprint: bytes | None = None) -> None:
        self._uses[key_id] = Use(at, fingerprint)

    async def run(self) -> None:
        """Until cancelled; then what is left is written."""
        try:
            while True:
                await asyncio.sleep(FLUSH_SECONDS)
                await self.flush()
        finally:
            await self.flush()

    async def flush(self) -> None:
        uses, self._uses = self._uses, {}
        if not uses:
            return
        try:
            await self._book.note_uses(uses)
        except Unavailable as error:
            log.warning("could not write down when keys were used", extra={"keys": len(uses), "error": error.message})
            self._uses = uses | self._uses
