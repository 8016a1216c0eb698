"""Which slots have to end so that an adapter fits."""

from dataclasses import replace

import pytest

from chorus_engine.core.errors import AdapterUnusable
from chorus_engine.core.spec import EMBEDDING, HEAD, OUTER_LAYER, AdapterFootprint
from chorus_engine.scheduler.limits import check_adapter
from chorus_engine.scheduler.pages import PagePools
from chorus_engine.scheduler.slots import Slot, SlotTable
from tests.engine.scheduler.drive import SMALL, footprint


def table(slots: int, **ranks: int) -> tuple[SlotTable, list[Slot]]:
    """Adapters of these ranks, ready and idle, in order of use; a pool holds 32 rows. Names of "q..." lack module v."""
    slot_table = SlotTable(slots, PagePools(pages=4, page_rows=8))
    for now, (digest, rank) in enumerate(ranks.items()):
        modules = ("q",) if digest.startswith("q") else ("q", "v")
        slot_table.loaded(slot_table.load(footprint(digest, rank, 1, modules), float(now)).slot)
    return slot_table, in_order(slot_table)


def in_order(slots: SlotTable) -> list[Slot]:
    return sorted(slots.idle(), key=lambda slot: slot.last_use)


def chosen(
    slots: SlotTable, candidates: list[Slot], rank: int, modules: tuple[str, ...] = ("q", "v")
) -> list[str] | None:
    enough = slots.enough(footprint("new", rank, 1, modules), candidates)
    return None if enough is None else [slot.digest for slot in enough]


def test_for_want_of_a_slot_the_first_candidate() -> None:
    assert chosen(*table(2, a=8, b=8), rank=8) == ["a"]


def test_for_want_of_pages_as_many_as_it_takes() -> None:
    slots, candidates = table(8, a=8, b=16, c=8)
    assert chosen(slots, candidates, rank=8) == ["a"]
    assert chosen(slots, candidates, rank=16) == ["a", "b"]
    assert chosen(slots, candidates, rank=32) == ["a", "b", "c"]


def test_a_slot_whose_pages_would_not_help_is_spared() -> None:
    slots, candidates = table(8, q=16, a=16)
    assert chosen(slots, candidates, rank=24, modules=("v",)) == ["a"]


def test_none_when_all_of_them_are_not_enough() -> None:
    slots, candidates = table(8, a=16, b=16)
    assert chosen(slots, candidates[:1], rank=24) is None
    assert chosen(slots, [], rank=8) is None


def test_nothing_has_to_end_when_there_is_room() -> None:
    assert chosen(*table(8, a=16), rank=16) == []


def test_pools_outside_the_layers_have_a_size_of_their_own() -> None:
    slots = SlotTable(8, PagePools(pages=4, page_rows=8, outer_pages=2))

    def head(digest: str, rank: int) -> AdapterFootprint:
        return AdapterFootprint(digest, ((OUTER_LAYER, HEAD, rank), (0, "q", 8)))

    for now, digest in enumerate("ab"):
        slots.loaded(slots.load(head(digest, 8), float(now)).slot)
    slots.loaded(slots.load(footprint("plain", 8, 1, ("q",)), 2.0).slot)
    assert not slots.can_load(head("c", 8))
    assert slots.can_load(footprint("d", 8, 1, ("q",)))
    candidates = in_order(slots)
    enough = slots.enough(head("c", 16), [candidates[2], *candidates[:2]])
    assert [slot.digest for slot in enough or ()] == ["a", "b"], "the plain one would not help"
    slots.check({})


@pytest.mark.parametrize("module", [HEAD, EMBEDDING])
def test_an_adapter_larger_than_the_pools_outside_the_layers_is_refused(module: str) -> None:
    capacity = replace(SMALL, vocab_pages=2)
    check_adapter(AdapterFootprint("a", ((OUTER_LAYER, module, 16),)), capacity)
    with pytest.raises(AdapterUnusable, match=f"rank 17 in {module} .* holds 16; .* raise max_vocab_adapters"):
        check_adapter(AdapterFootprint("a", ((OUTER_LAYER, module, 17),)), capacity)
