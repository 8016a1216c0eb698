"""The block tables of all requests: where their keys and values are, and where they go."""

from collections.abc import Iterable
from dataclasses import dataclass

from chorus_engine.core.spec import Capacity
from chorus_engine.scheduler.blocks import BlockPool
from chorus_engine.scheduler.preemption import is_swap_cheaper
from chorus_engine.scheduler.prefix import PrefixNames
from chorus_engine.scheduler.sequence import NEVER, Sequence, Shortage
from chorus_engine.scheduler.swap import Moves, SwapSpace

NAMES_AHEAD = 32  # blocks


@dataclass(frozen=True, slots=True)
class StepMoves:
    swap_out: Moves
    swap_in: Moves
    copy: Moves


@dataclass(frozen=True, slots=True)
class Fit:
    """How a request that waits would enter."""

    found: tuple[int, ...]  # blocks that hold its beginning
    source: int | None  # the block to be copied as the next one
    fresh: int  # blocks to allocate, the copy's target included


class KvMemory:
    """Blocks are found by name when a request enters, and named as soon as the step that fills them is scheduled.

    That is early enough: steps run in order, and inside one all rows' keys are stored before any are read. It stays
    true when the request that fills the block ends meanwhile, for a step that was launched is computed all the same.
    A full block is written into again only by a request that holds it alone, to compute its last token.
    """

    def __init__(self, capacity: Capacity, prefix_caching: bool) -> None:
        self._capacity = capacity
        self._size = capacity.block_size
        self._caching = prefix_caching
        self._pool = BlockPool(capacity.num_blocks)
        self._swap = SwapSpace(capacity.swap_blocks)
        self._names = PrefixNames(capacity.block_size)
        self._filling: set[int] = set()  # named in this step: what it copies is copied before they are filled
        self._copies: list[tuple[int, int]] = []

    @property
    def free(self) -> int:
        """Blocks, those that can be found included."""
        return self._pool.free

    @property
    def total(self) -> int:
        return self._pool.total

    def begin_step(self) -> None:
        self._filling.clear()

    def take_moves(self) -> StepMoves:
        """What must be moved before the rows of the plan that is made."""
        copies, self._copies = tuple(self._copies), []
        return StepMoves(*self._swap.take_moves(), copies)

    # ---------------------------------------------------------------- a request comes, grows and goes

    def fit(self, sequence: Sequence, spare: int) -> Fit | None:
        """What a table for all known tokens takes; None when fewer than `spare` free blocks would be left."""
        if self._is_still_short(sequence, spare):
            return None
        fit = self._fit(sequence)
        lack = self._lack(fit)
        if lack + spare <= 0:
            return fit
        sequence.short = Shortage(lack, self._pool.freed, self._next_name(sequence, fit))
        return None

    def enter(self, sequence: Sequence, fit: Fit) -> None:
        """A table of found, swapped-in and fresh blocks; the sequence's `scheduled` says what is in them."""
        found = fit.found
        self._pool.share(found)
        fresh = self._pool.allocate(fit.fresh)
        filled = len(found)
        if fit.source is not None:
            self._copies.append((fit.source, fresh[0]))
            filled += 1
        start = min(filled * self._size, sequence.known - 1)
        if sequence.scheduled > start:
            kept = sequence.host[filled:]
            self._swap.swap_in(kept, fresh[: len(kept)])
            filled, start = len(sequence.host), sequence.scheduled
        self.drop(sequence)
        sequence.fill((*found, *fresh), filled, start, self._size)
        sequence.seal_at = (min(len(found), start // self._size) + 1) * self._size if self._shares(sequence) else NEVER

    def missing(self, sequence: Sequence) -> int:
        """Blocks wanted for all that can be scheduled now."""
        return self._blocks(sequence.known + sequence.pending) - len(sequence.blocks) if sequence.cramped else 0

    def grow(self, sequence: Sequence) -> None:
        """The blocks that it misses, which are free."""
        sequence.grow(self._pool.allocate(self.missing(sequence)), self._size)

    def grow_ahead(self, sequence: Sequence, drafts: int, spare: int) -> int:
        """Blocks for drafts after the known tokens, as long as `spare` stay free; how many drafts have room then."""
        wanted = self._blocks(sequence.known + drafts) - len(sequence.blocks)
        if wanted > 0 and (free := min(wanted, self._pool.free - spare)) > 0:
            sequence.grow(self._pool.allocate(free), self._size)
        return min(drafts, sequence.room - sequence.known)

    def seal(self, sequence: Sequence) -> None:
        """Names the blocks that are full of known tokens by the end of what is scheduled."""
        full = min(sequence.known, sequence.scheduled) // self._size
        first = sequence.seal_at // self._size - 1
        names = self._names.first(sequence, full)
        for block, name in zip(sequence.blocks[first:full], names[first:full], strict=True):
            self._pool.name(block, name)
            self._filling.add(block)
        sequence.seal_at = (full + 1) * self._size

    def leave(self, sequence: Sequence) -> bool:
        """Takes the table back; no step in flight uses it. Whether it was swapped, of a request that was preempted."""
        computed = sequence.blocks[: self._blocks(sequence.scheduled)]
        host: tuple[int, ...] = ()
        if sequence.finish is None and self._should_swap(sequence, computed):
            host = self._swap.swap_out(computed)
        elif sequence.request.goes_on and sequence.scheduled % self._size and self._shares(sequence):
            self._pool.name(computed[-1], self._names.part(sequence, sequence.scheduled))
        self._pool.release(sequence.blocks)
        sequence.leave(host)
        return bool(host)

    def drop(self, sequence: Sequence) -> None:
        """The waiting request ends: host memory keeps nothing of it."""
        if sequence.host:
            self._swap.release(sequence.host)
            sequence.host = ()

    def releasable(self, leaving: Iterable[Sequence]) -> int:
        """Blocks, at least, that are free once all of these have left."""
        return sum(self._pool.holders(block) == 1 for sequence in leaving for block in sequence.blocks)

    # ---------------------------------------------------------------- how

    def _fit(self, sequence: Sequence) -> Fit:
        """The last token must be computed in any case. When its block has all before it and others hold it, it is
        copied; when this very step fills it, it cannot be; when nobody holds it, the request may write into it.
        """
        found: tuple[int, ...] = ()
        if self._shares(sequence):
            found = self._find(sequence)
            found += self._find_part(sequence, found)
        source = None
        if found and len(found) * self._size >= sequence.known:
            last = found[-1]
            if last in self._filling or self._pool.holders(last):
                found = found[:-1]
                source = None if last in self._filling else last
        return Fit(found, source, self._blocks(sequence.known) - len(found))

    def _lack(self, fit: Fit) -> int:
        """Blocks that it takes, less those that are free; found ones that nobody holds are both."""
        return fit.fresh + sum(not self._pool.holders(block) for block in fit.found) - self._pool.free

    def _find(self, sequence: Sequence) -> tuple[int, ...]:
        """Names are made a few blocks at a time: most prompts are not found to their end."""
        found: list[int] = []
        full = sequence.known // self._size
        while len(found) < full:
            ahead = min(full, len(found) + NAMES_AHEAD)
            for name in self._names.first(sequence, ahead)[len(found) : ahead]:
                block = self._pool.find(name)
                if block is None:
                    return tuple(found)
                found.append(block)
        return tuple(found)

    def _find_part(self, sequence: Sequence, found: tuple[int, ...]) -> tuple[int, ...]:
        """The block behind those `found` that has all but the last token, where a request that goes on left it."""
        end = sequence.known - 1
        if not sequence.request.goes_on or len(found) != end // self._size or not end % self._size:
            return ()
        block = self._pool.find(self._names.part(sequence, end))
        return () if block is None else (block,)

    def _is_still_short(self, sequence: Sequence, spare: int) -> bool:
        """Whether `enter` would fail again, known without a look at every block.

        What was lacking shrinks by a block that became free, or by a further block that can be found, and by nothing
        else: a block found and taken by another is one less to take, and one less that is free.
        """
        short = sequence.short
        if short is None or (short.next_name is not None and self._pool.find(short.next_name) is not None):
            return False
        return short.lack - (self._pool.freed - short.freed) + spare > 0

    def _next_name(self, sequence: Sequence, fit: Fit) -> bytes | None:
        """The name of the first block that was not found."""
        found = len(fit.found)
        if not self._shares(sequence) or fit.source is not None or found >= sequence.known // self._size:
            return None
        return self._names.first(sequence, found + 1)[found]

    def _should_swap(self, sequence: Sequence, blocks: list[int]) -> bool:
        """Blocks that others hold will most likely be found again, so their tokens need not be computed either way."""
        if sequence.reading:
            return False  # what was read so far is the row's, and gone with it
        lost = sequence.scheduled - self._size * sum(self._pool.holders(block) > 1 for block in blocks)
        return self._swap.can_hold(len(blocks)) and is_swap_cheaper(self._capacity, len(blocks), lost)

    def _shares(self, sequence: Sequence) -> bool:
        return self._caching and bool(sequence.request.namespace) and not sequence.request.reads_prompt

    def _blocks(self, tokens: int) -> int:
        return -(-tokens // self._size)

    def check(self, held: Iterable[Sequence], waiting: Iterable[Sequence]) -> None:
        """Blocks and host blocks are conserved; tables are as long as what is scheduled; who is said to be short is."""
        held, waiting = tuple(held), tuple(waiting)
        self._pool.check(sequence.blocks for sequence in held)
        self._swap.check(sequence.host for sequence in waiting)
        for sequence in held:
            assert not sequence.host
            assert sequence.room == len(sequence.blocks) * self._size >= sequence.scheduled
        for sequence in waiting:
            lack = self._lack(self._fit(sequence))
            assert not self._is_still_short(sequence, spare=-lack), f"request {sequence.request.id} would fit"
