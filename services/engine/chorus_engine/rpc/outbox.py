"""What a stream has not sent yet."""

import asyncio
from collections.abc import Mapping

from chorus_engine.rpc.residency import UnsentResidency
from chorus_proto.engine.v1 import engine_pb2 as pb

# Embeddings of a step of 256 rows are 8 MiB where a vector has 8192 values. One frame may carry all of it: gateways
# take messages of 64 MiB.
MAX_BYTES = 24 << 20


class OutboxOverflow(Exception):
    """The peer did not read for so long that its outbox passed its bound."""


class Outbox:
    """Merges unsent deltas by request within a bound of bytes. Used on the event loop alone; adding never waits.

    Its first frame says where all adapters are, the later ones what changed.
    """

    def __init__(self, limit: int = MAX_BYTES, tiers: Mapping[str, pb.Tier] | None = None) -> None:
        """`tiers`: where adapters are, kept up to date by its owner, who says by `move` what changed."""
        self.bytes = 0  # at most `limit`; an upper bound of what `take` will serialize
        self._limit = limit
        self._deltas: dict[tuple[str, int], pb.Delta] = {}  # in order of their first tokens
        self._credits = 0
        self._standing = 0
        self._standing_told = True
        self._load: pb.Load | None = None
        self._residency = UnsentResidency({} if tiers is None else tiers)
        self._overflowed = False
        self._closed = False
        self._news = asyncio.Event()
        self._news.set()

    def add(self, delta: pb.Delta) -> None:
        """Raises OutboxOverflow, now and in every later `take`, when the bound is passed."""
        self.bytes += delta.ByteSize() + 8
        if self.bytes > self._limit:
            self._overflowed = True
            self._deltas.clear()
            self._news.set()
            raise OutboxOverflow
        unsent = self._deltas.setdefault((delta.request_id, delta.attempt), delta)
        if unsent is not delta:
            _extend(unsent, delta)
        self._news.set()

    def add_credits(self, count: int, *, send: bool = True) -> None:
        """They go with the next frame; `send` makes that be now."""
        self._credits += count
        if send and self._credits:
            self._news.set()

    def set_standing(self, credits: int) -> None:
        """Goes now where some are asked back, else with the next frame."""
        fewer = credits < self._standing
        self._standing, self._standing_told = credits, False
        if fewer:
            self._news.set()

    def set_load(self, load: pb.Load, *, send: bool) -> None:
        """Goes with the next frame; `send` makes that be now."""
        self._load = load
        if send:
            self._news.set()

    def move(self, changes: Mapping[str, pb.Tier | None]) -> None:
        """Adapters that are elsewhere now; None is gone."""
        self._residency.add(changes)
        self._news.set()

    def close(self) -> None:
        """`take` gives what is left, then None."""
        self._closed = True
        self._news.set()

    @property
    def empty(self) -> bool:
        return not self._deltas and not self._credits

    async def take(self) -> pb.EngineFrame | None:
        """Wait for news; all of it is one frame. None after `close`."""
        await self._news.wait()
        if self._overflowed:
            raise OutboxOverflow
        if self._closed and self.empty:
            return None
        frame = pb.EngineFrame(
            credits=self._credits, deltas=self._deltas.values(), load=self._load, residency=self._residency.take()
        )
        if not self._standing_told:
            frame.standing_credits, self._standing_told = self._standing, True
        self._deltas.clear()
        self._credits = self.bytes = 0
        if not self._closed and not self._residency:
            self._news.clear()
        return frame


def _extend(unsent: pb.Delta, later: pb.Delta) -> None:
    """Protobuf's merge appends tokens and takes over what only a last delta has, but no number that has become 0."""
    if later.HasField("usage"):
        unsent.ClearField("usage")
    unsent.MergeFrom(later)
