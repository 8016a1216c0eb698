"""Random operations on the resources; their laws hold after each."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chorus_engine.core.load import SlotState
from chorus_engine.scheduler.blocks import BlockPool
from chorus_engine.scheduler.pages import PagePools
from chorus_engine.scheduler.slots import SlotTable
from tests.engine.scheduler.drive import footprint

BLOCKS = 12
SLOTS = 3


class BlockMachine(RuleBasedStateMachine):
    """Tables allocate, share what another holds, and let go."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(BLOCKS)
        self.tables: list[tuple[int, ...]] = []

    @rule(count=st.integers(0, BLOCKS + 1))
    def allocate(self, count: int) -> None:
        free = self.pool.free
        assert self.pool.can_allocate(count) == (count <= free)
        if count <= free:
            self.tables.append(self.pool.allocate(count))
            assert self.pool.free == free - count

    @precondition(lambda self: self.tables)
    @rule(data=st.data())
    def share(self, data: st.DataObject) -> None:
        prefix = data.draw(st.sampled_from(self.tables))
        self.pool.share(prefix)
        self.tables.append(prefix)
        assert all(self.pool.is_shared(block) for block in prefix)

    @precondition(lambda self: self.tables)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.tables) - 1))
        self.pool.release(self.tables.pop(index))

    @invariant()
    def laws(self) -> None:
        self.pool.check(self.tables)
        assert self.pool.free == BLOCKS - len({block for table in self.tables for block in table})

    def teardown(self) -> None:
        for table in self.tables:
            self.pool.release(table)
        assert self.pool.free == BLOCKS


class SlotMachine(RuleBasedStateMachine):
    """Adapters of several ranks load, are leased, released, drained and evicted."""

    digests = st.sampled_from(["a", "b", "c", "d", "e"])

    def __init__(self) -> None:
        super().__init__()
        self.slots = SlotTable(SLOTS, PagePools(pages=6, page_rows=4))
        self.leases: list[int] = []  # one entry a row
        self.now = 0.0

    def ready(self) -> list[str]:
        return [slot.digest for slot in self.slots.in_state(SlotState.READY)]

    @rule(digest=digests, rank=st.sampled_from([1, 4, 9, 16, 24]), layers=st.integers(1, 2), both=st.booleans())
    def load(self, digest: str, rank: int, layers: int, both: bool) -> None:
        asked = footprint(digest, rank, layers, ("q", "v") if both else ("v",))
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
        assert all(len(module.pages) == -(-rank // 4) for module in load.modules)

    @precondition(lambda self: self.slots.is_loading())
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
        leased = slot.leases
        self.slots.drain(slot)
        assert not self.slots.is_ready(digest)
        assert (self.slots.get(digest) is None) == (not leased)

    @invariant()
    def laws(self) -> None:
        self.slots.check({index: self.leases.count(index) for index in self.leases})
        assert [slot.last_use for slot in self.slots.idle()] == sorted(slot.last_use for slot in self.slots.idle())
        assert self.slots.loads - self.slots.evictions == len(self.slots.residency())


TestBlocks = BlockMachine.TestCase
TestBlocks.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestSlots = SlotMachine.TestCase
TestSlots.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
