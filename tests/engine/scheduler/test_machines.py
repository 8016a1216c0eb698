"""Random operations on the resources; their laws hold after each."""

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chorus_engine.core.load import Residency, SlotState
from chorus_engine.core.spec import HEAD, OUTER_LAYER
from chorus_engine.scheduler.blocks import BlockPool
from chorus_engine.scheduler.pages import PagePools
from chorus_engine.scheduler.slots import SlotTable
from chorus_engine.scheduler.swap import SwapSpace
from tests.engine.scheduler.drive import footprint
from tests.support.often import often

BLOCKS = 12
SLOTS = 3


class BlockMachine(RuleBasedStateMachine):
    """Tables allocate, name their blocks, share what can be found, and let go."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(BLOCKS)
        self.tables: list[tuple[int, ...]] = []
        self.names: dict[bytes, int] = {}  # name -> block
        self.free: list[int] = list(range(BLOCKS))  # in the order in which they became free

    def held(self) -> set[int]:
        return {block for table in self.tables for block in table}

    @rule(count=st.integers(0, BLOCKS + 1))
    def allocate(self, count: int) -> None:
        free = self.pool.free
        assert self.pool.can_allocate(count) == (count <= free)
        if count > free:
            return
        idle = [block for block in self.free if block in self.names.values()]
        evicted = idle[: max(0, count - (free - len(idle)))]
        blocks = self.pool.allocate(count)
        assert set(blocks) & set(idle) == set(evicted), "blank blocks go first, then the least recently used"
        self.names = {name: block for name, block in self.names.items() if block not in evicted}
        self.free = [block for block in self.free if block not in blocks]
        self.tables.append(blocks)

    @precondition(lambda self: self.held())
    @rule(data=st.data(), name=st.binary(min_size=1, max_size=1))
    def name(self, data: st.DataObject, name: bytes) -> None:
        block = data.draw(st.sampled_from(sorted(self.held() - set(self.names.values())) or [-1]))
        if block >= 0:
            self.pool.name(block, name)
            self.names.setdefault(name, block)

    @precondition(lambda self: self.names)
    @rule(data=st.data())
    def share(self, data: st.DataObject) -> None:
        names = data.draw(st.lists(st.sampled_from(sorted(self.names)), min_size=1, unique=True))
        found = tuple(block for name in names if (block := self.pool.find(name)) is not None)
        assert found == tuple(self.names[name] for name in names)
        self.pool.share(found)
        self.free = [block for block in self.free if block not in found]
        self.tables.append(found)

    @precondition(lambda self: self.tables)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        table = self.tables.pop(data.draw(st.integers(0, len(self.tables) - 1)))
        freed = self.pool.freed
        self.pool.release(table)
        gone = [block for block in reversed(table) if block not in self.held()]
        assert self.pool.freed - freed == len(gone)
        self.free += gone

    @invariant()
    def laws(self) -> None:
        self.pool.check(self.tables)
        assert self.pool.free == BLOCKS - len(self.held()) == len(self.free)
        for name, block in self.names.items():
            assert self.pool.find(name) == block

    def teardown(self) -> None:
        for table in self.tables:
            self.pool.release(table)
        assert self.pool.free == BLOCKS


class SwapMachine(RuleBasedStateMachine):
    """Requests are swapped out, come back or end, and steps take the moves."""

    def __init__(self) -> None:
        super().__init__()
        self.swap = SwapSpace(BLOCKS)
        self.kept: list[tuple[int, ...]] = []
        self.ins: list[tuple[int, int]] = []  # (target, content) that the next step must bring back
        self.swapped_in: list[tuple[int, int]] = []  # (host block, target)
        self.host: dict[int, int] = {}  # host block -> the block whose content it holds
        self.content: dict[tuple[int, ...], tuple[int, ...]] = {}  # host blocks -> what they were given

    @precondition(lambda self: not self.ins)
    @rule(blocks=st.lists(st.integers(0, 99), min_size=1, max_size=5, unique=True))
    def swap_out(self, blocks: list[int]) -> None:
        if self.swap.can_hold(len(blocks)):
            host = self.swap.swap_out(blocks)
            self.kept.append(host)
            self.content[host] = tuple(blocks)

    @precondition(lambda self: self.kept)
    @rule(data=st.data(), skip=st.integers(0, 5))
    def swap_in(self, data: st.DataObject, skip: int) -> None:
        host = self.kept.pop(data.draw(st.integers(0, len(self.kept) - 1)))
        targets = tuple(range(1000 + len(self.ins), 1000 + len(self.ins) + len(host[skip:])))
        self.swap.swap_in(host[skip:], targets)
        self.swap.release(host)
        self.ins += zip(targets, self.content.pop(host)[skip:], strict=True)
        self.swapped_in += zip(host[skip:], targets, strict=True)

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        host = self.kept.pop(data.draw(st.integers(0, len(self.kept) - 1)))
        self.swap.release(host)
        del self.content[host]

    @rule()
    def step(self) -> None:
        """Every block that goes in carries what once went out, and nothing goes out for nobody."""
        wanted = {host for each in self.kept for host in each} | {source for source, _ in self.swapped_in}
        outs, ins = self.swap.take_moves()
        assert {host for _, host in outs} <= wanted
        assert len({host for _, host in outs}) == len(outs)
        self.host.update({host: block for block, host in outs})
        assert [(target, self.host[host]) for host, target in ins] == self.ins
        self.ins, self.swapped_in = [], []

    @invariant()
    def laws(self) -> None:
        self.swap.check(self.kept)
        assert self.swap.can_hold(BLOCKS - sum(map(len, self.kept)))
        assert not self.swap.can_hold(BLOCKS - sum(map(len, self.kept)) + 1)


class SlotMachine(RuleBasedStateMachine):
    """Adapters of several ranks load, are leased, pinned, released, drained and evicted."""

    digests = st.sampled_from(["a", "b", "c", "d", "e"])

    def __init__(self) -> None:
        super().__init__()
        self.slots = SlotTable(SLOTS, PagePools(pages=6, page_rows=4, outer_pages=3, max_rank=16))
        self.leases: list[int] = []  # one entry a row
        self.told: dict[str, Residency] = {}
        self.now = 0.0

    def ready(self) -> list[str]:
        return [slot.digest for slot in self.slots.in_state(SlotState.READY)]

    def pinned(self) -> list[str]:
        return [each.digest for each in self.slots.residency() if each.pinned]

    @rule(
        digest=digests,
        rank=st.sampled_from([1, 4, 9, 16]),
        layers=st.integers(1, 2),
        both=st.booleans(),
        head=st.sampled_from([0, 0, 3, 12]),
    )
    def load(self, digest: str, rank: int, layers: int, both: bool, head: int) -> None:
        asked = footprint(digest, rank, layers, ("q", "v") if both else ("v",))
        if head:
            asked = replace(asked, ranks=((OUTER_LAYER, HEAD, head), *asked.ranks))
        if self.slots.get(digest) is not None:
            return
        if not self.slots.can_load(asked):
            enough = self.slots.enough(asked, self.slots.idle())
            if enough is None:
                return
            for slot in enough:
                self.slots.drain(slot)
        load = self.slots.load(asked, self.now)
        assert [(m.layer, m.module, m.rank) for m in load.modules] == list(asked.ranks)
        assert all(len(module.pages) == -(-module.rank // 4) for module in load.modules)

    @precondition(lambda self: self.slots.loading)
    @rule(data=st.data())
    def loaded(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(self.slots.in_state(SlotState.LOADING)))
        self.slots.loaded(slot.index)
        assert self.slots.is_ready(slot.digest)

    @precondition(lambda self: self.ready())
    @rule(data=st.data())
    def lease(self, data: st.DataObject) -> None:
        self.now += 1.0
        self.leases.append(self.slots.lease(data.draw(st.sampled_from(self.ready())), self.now))

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.now += 1.0
        self.slots.release(self.leases.pop(data.draw(st.integers(0, len(self.leases) - 1))), self.now)

    @precondition(lambda self: self.ready())
    @rule(data=st.data())
    def drain(self, data: st.DataObject) -> None:
        digest = data.draw(st.sampled_from(self.ready()))
        slot = self.slots.get(digest)
        assert slot is not None
        if slot.pinned:
            with pytest.raises(AssertionError, match="which is pinned"):
                self.slots.drain(slot)
            return
        leased = slot.leases
        self.slots.drain(slot)
        assert not self.slots.is_ready(digest)
        assert (self.slots.get(digest) is None) == (not leased)

    @precondition(lambda self: self.ready())
    @rule(data=st.data())
    def pin(self, data: st.DataObject) -> None:
        slot = self.slots.get(data.draw(st.sampled_from(self.ready())))
        assert slot is not None
        if slot.pinned:
            return
        others = self.pinned()
        refusal = self.slots.unpinnable(slot)
        if refusal is None:
            self.slots.pin(slot)
        else:
            assert len(others) == SLOTS // 2 or slot.pages > 0, refusal

    @precondition(lambda self: self.pinned())
    @rule(data=st.data())
    def unpin(self, data: st.DataObject) -> None:
        digest = data.draw(st.sampled_from(self.pinned()))
        self.slots.unpin(digest)
        assert digest not in self.pinned()

    @rule(digest=digests)
    def whatever_waits_gets_room_once_all_else_is_gone(self, digest: str) -> None:
        """The largest adapter there may be fits beside the pins."""
        asked = footprint(digest, 16, 2)
        unpinned = [slot for state in SlotState for slot in self.slots.in_state(state) if not slot.pinned]
        assert self.slots.enough(asked, unpinned) is not None

    @invariant()
    def laws(self) -> None:
        self.slots.check({index: self.leases.count(index) for index in self.leases})
        assert all(not slot.leases and not slot.pinned for slot in self.slots.idle())
        changed = self.slots.take_changed()
        for each in self.slots.residency():
            assert each.digest in changed or self.told[each.digest] == each, "a change that nobody hears of"
        assert self.told.keys() - {each.digest for each in self.slots.residency()} <= changed
        self.told = {each.digest: each for each in self.slots.residency()}
        assert self.slots.loads - self.slots.evictions == len(self.slots.residency())


TestBlocks = BlockMachine.TestCase
TestBlocks.settings = settings(max_examples=often(60), stateful_step_count=40, deadline=None)
TestSwap = SwapMachine.TestCase
TestSwap.settings = settings(max_examples=often(60), stateful_step_count=40, deadline=None)
TestSlots = SlotMachine.TestCase
TestSlots.settings = settings(max_examples=often(60), stateful_step_count=40, deadline=None)
