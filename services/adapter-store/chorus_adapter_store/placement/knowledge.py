"""What the catalog says of adapters, remembered: a tick asks only for what is new, and goes on when the database is
away."""

import logging
from collections.abc import Collection

from chorus_adapter_store.catalog import PinCatalog, PlacingCatalog
from chorus_adapter_store.errors import Unavailable
from chorus_adapter_store.outage import Outage
from chorus_adapter_store.placement.situation import PinWish
from chorus_adapter_store.values import PlacedFile

_PINS_AGE = 1.0  # seconds after which pins are asked for again
_FILES_AGE = 5.0  # and adapters that are known already; events shorten both
_log = logging.getLogger(__name__)


class Knowledge:
    """Raises nothing: while the database is away, what was known before holds, and of the rest nothing is known."""

    def __init__(self, placing: PlacingCatalog, pins: PinCatalog) -> None:
        self._placing = placing
        self._pins = pins
        self._files: dict[str, PlacedFile | None] = {}  # None: no request may use it
        self._wishes: tuple[PinWish, ...] = ()
        self._pins_until = self._files_until = 0.0
        self._told = False
        self._outage = Outage("the catalog (placement)", _log)

    @property
    def ready(self) -> bool:
        """Whether it was ever told anything: else every pin would look as if it had been removed."""
        return self._told

    def forget(self) -> None:
        """Something has changed: ask for everything at the next tick."""
        self._pins_until = self._files_until = 0.0

    async def learn(self, digests: Collection[str], now: float) -> None:
        """Of these adapters, and of all pins. `now`: seconds."""
        try:
            if now >= self._pins_until:
                await self._read_pins()
                self._pins_until = now + _PINS_AGE
            wanted = {*digests, *(each.file.digest for each in self._wishes)}
            if now >= self._files_until:
                self._files = await self._ask(wanted)
                self._files_until = now + _FILES_AGE
            elif missing := wanted - self._files.keys():
                self._files |= await self._ask(missing)
            self._told = True
        except Unavailable as error:
            self._outage.failed(error)
        else:
            self._outage.worked()

    def usable(self, model: str) -> dict[str, PlacedFile]:
        """What requests for the base of this name may use, by digest."""
        return {digest: file for digest, file in self._files.items() if file is not None and model in file.models}

    def gone(self, model: str, digests: Collection[str]) -> frozenset[str]:
        """Of these, what no request for the base may use any more."""
        asked = {digest: self._files[digest] for digest in digests if digest in self._files}
        return frozenset(digest for digest, file in asked.items() if file is None or model not in file.models)

    def pins(self, model: str) -> tuple[PinWish, ...]:
        return tuple(each for each in self._wishes if model in each.file.models)

    async def _read_pins(self) -> None:
        pinned = await self._pins.all()
        self._wishes = tuple(PinWish(file, pin.tier, pin.engines) for pin, files in pinned for file in files)

    async def _ask(self, digests: Collection[str]) -> dict[str, PlacedFile | None]:
        found = await self._placing.files(digests)
        return {digest: found.get(digest) for digest in digests}
