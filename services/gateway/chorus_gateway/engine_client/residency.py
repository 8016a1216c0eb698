"""Which adapters an engine has, as its stream tells: whole in the first frame, then whatever changed."""

from enum import IntEnum

from chorus_proto.engine.v1 import engine_pb2 as pb


class Tier(IntEnum):
    """How near an adapter is to an engine's steps. The numbers are those of engine.proto."""

    ABSENT = 0
    FETCHING = 1  # on its way from the store
    HOST = 2
    LOADING = 3  # on its way into a slot
    GPU = 4  # in a slot


_TIERS = {tier.value: tier for tier in Tier}


class Residency:
    """Before an engine's first word it counts as holding nothing."""

    def __init__(self) -> None:
        self._tiers: dict[str, Tier] = {}
        self._changed: set[str] = set()

    def __len__(self) -> int:
        return len(self._tiers)

    def tier(self, digest: str) -> Tier:
        return self._tiers.get(digest, Tier.ABSENT)

    def count(self, *tiers: Tier) -> int:
        return sum(tier in tiers for tier in self._tiers.values())

    def receive(self, message: pb.Residency) -> None:
        """A tier that only engines newer than this gateway know of counts as host memory."""
        said = {held.digest: _TIERS.get(held.tier, Tier.HOST) for held in message.held}
        unsaid = self._tiers.keys() - said.keys() if message.whole else message.gone
        # `gone` first: what an engine dropped and has again, it has.
        for digest, tier in [*dict.fromkeys(unsaid, Tier.ABSENT).items(), *said.items()]:
            self._set(digest, tier)

    def take_changes(self) -> set[str]:
        """Digests whose tier is another one than when this was last asked."""
        changed, self._changed = self._changed, set()
        return changed

    def _set(self, digest: str, tier: Tier) -> None:
        if tier is self.tier(digest):
            return
        self._changed.add(digest)
        if tier is Tier.ABSENT:
            del self._tiers[digest]
        else:
            self._tiers[digest] = tier
