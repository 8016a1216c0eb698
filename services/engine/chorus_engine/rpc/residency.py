"""Where an adapter is, as gateways are told."""

from collections.abc import Iterable, Mapping

from chorus_engine.core.load import Held, SlotState, Tier
from chorus_proto.engine.v1 import engine_pb2 as pb


def to_tier(held: Held | None) -> pb.Tier | None:
    """None: the engine does not have it. A slot that drains serves nobody who comes, so host memory counts then."""
    if held is None:
        return None
    if held.tier is Tier.HOST:
        return pb.TIER_FETCHING if held.state is SlotState.LOADING else pb.TIER_HOST
    if held.state is SlotState.READY:
        return pb.TIER_GPU
    if held.state is SlotState.LOADING:
        return pb.TIER_LOADING
    return pb.TIER_HOST if held.hosted else None


def to_residency(tiers: Iterable[tuple[str, pb.Tier | None]], *, whole: bool) -> pb.Residency:
    message = pb.Residency(whole=whole)
    for digest, tier in tiers:
        if tier is None:
            message.gone.append(digest)
        else:
            message.held.add(digest=digest, tier=tier)
    return message


class UnsentResidency:
    """What a stream has not been told. Changes of an adapter merge; too many of them become the whole again."""

    def __init__(self, tiers: Mapping[str, pb.Tier], most: int = 1 << 13) -> None:
        """`tiers`: what the engine has, kept up to date by its owner. `most`: adapters in one frame."""
        self._tiers = tiers
        self._most = most
        self._whole = True
        self._unsent: dict[str, pb.Tier | None] = dict(tiers)

    def __bool__(self) -> bool:
        return self._whole or bool(self._unsent)

    def add(self, changes: Mapping[str, pb.Tier | None]) -> None:
        """`tiers` has them already."""
        self._unsent.update(changes)
        if len(self._unsent) > 2 * self._most + 2 * len(self._tiers):
            self._whole, self._unsent = True, dict(self._tiers)

    def take(self) -> pb.Residency | None:
        """The next part of it; None when there is none."""
        if not self:
            return None
        part = [(digest, self._unsent.pop(digest)) for digest in tuple(self._unsent)[: self._most]]
        message = to_residency(part, whole=self._whole)
        self._whole = False
        return message
