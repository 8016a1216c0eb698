"""The adapters of an engine without a model, and what it tells of them."""

import asyncio
from collections import Counter
from collections.abc import Callable

from chorus_proto.engine.v1 import engine_pb2 as pb


class FakeResidency:
    """An adapter that is asked for and not there is fetched, which takes `seconds`, and is in a slot from then on."""

    def __init__(self, tell: Callable[[pb.Residency], None], *, slots: int = 8) -> None:
        self.fetches: Counter[str] = Counter()
        self.seconds = 0.0
        self.silent = False  # says nothing of adapters, as engines of old
        self._tell = tell
        self._slots = slots
        self._tiers: dict[str, pb.Tier] = {}
        self._arrived: dict[str, asyncio.Event] = {}

    @property
    def free_slots(self) -> int:
        return max(0, self._slots - sum(tier >= pb.TIER_LOADING for tier in self._tiers.values()))

    def put(self, digest: str, tier: pb.Tier) -> None:
        self._tiers[digest] = tier
        self._say(pb.Residency(held=[pb.Held(digest=digest, tier=tier)]))

    def drop(self, digest: str) -> None:
        del self._tiers[digest]
        self._say(pb.Residency(gone=[digest]))

    def whole(self) -> pb.Residency | None:
        held = [pb.Held(digest=digest, tier=tier) for digest, tier in self._tiers.items()]
        return None if self.silent else pb.Residency(whole=True, held=held)

    async def need(self, digest: str) -> None:
        """Returns once the adapter is in a slot."""
        if digest in self._arrived:
            await self._arrived[digest].wait()
        elif digest and digest not in self._tiers:
            arrived = self._arrived[digest] = asyncio.Event()
            self.fetches[digest] += 1
            try:
                self.put(digest, pb.TIER_FETCHING)
                await asyncio.sleep(self.seconds)
            finally:  # whoever asked first may be cancelled; the fetch goes on for the others
                self.put(digest, pb.TIER_GPU)
                arrived.set()
                del self._arrived[digest]
        elif digest:
            self.put(digest, pb.TIER_GPU)

    def _say(self, residency: pb.Residency) -> None:
        if not self.silent:
            self._tell(residency)


def joined(earlier: pb.Residency, later: pb.Residency) -> pb.Residency:
    """Two frames' news as one: nothing is in both `held` and `gone`."""
    tiers = {} if later.whole else {held.digest: held.tier for held in earlier.held}
    tiers |= dict.fromkeys(later.gone, pb.TIER_UNSPECIFIED) | {held.digest: held.tier for held in later.held}
    gone = set() if later.whole else (set(earlier.gone) | set(later.gone)) - {held.digest for held in later.held}
    held = [pb.Held(digest=digest, tier=tier) for digest, tier in tiers.items() if tier != pb.TIER_UNSPECIFIED]
    return pb.Residency(whole=earlier.whole or later.whole, held=held, gone=sorted(gone))
