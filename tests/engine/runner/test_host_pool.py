import weakref

import pytest
import torch
from torch import Tensor

from chorus_engine.adapters.host import Weights, pack
from chorus_engine.core.plan import ModulePages, SlotLoad
from chorus_engine.core.spec import Capacity, LinearModule
from chorus_engine.model.lora import Site
from chorus_engine.runner.host_pool import HostPool
from chorus_kernels.lora import Segment

CAPACITY = Capacity(
    max_model_len=64,
    max_num_seqs=8,
    max_num_batched_tokens=64,
    block_size=4,
    num_blocks=50,
    max_adapters=2,
    adapter_page_rows=8,
    adapter_pages=5,
)
QUERY, UP = "self_attn.q_proj", "mlp.up_proj"
SITES = {
    Site.QKV: (LinearModule(QUERY, 6, 4), LinearModule("self_attn.k_proj", 6, 3)),
    Site.GATE_UP: (LinearModule(UP, 6, 5),),
}


class Memory:
    def __init__(self) -> None:
        self.adapters: dict[str, dict[tuple[int, str], tuple[Tensor, Tensor]]] = {}

    def get(self, digest: str) -> Weights:
        return pack(self.adapters[digest], torch.float32, pinned=False)


@pytest.fixture
def memory() -> Memory:
    torch.manual_seed(0)
    memory = Memory()
    memory.adapters["wide"] = {(1, QUERY): (torch.randn(20, 6), torch.randn(20, 4))}
    memory.adapters["thin"] = {(1, QUERY): (torch.randn(3, 6), torch.randn(3, 4)), (0, UP): pair(2, 5)}
    return memory


@pytest.fixture
def pool(memory: Memory) -> HostPool:
    return HostPool(SITES, 2, CAPACITY, memory, torch.float32, torch.device("cpu"))


def pair(rank: int, out: int) -> tuple[Tensor, Tensor]:
    return torch.randn(rank, 6), torch.randn(rank, out)


WIDE = SlotLoad(0, "wide", (ModulePages(1, QUERY, 20, (4, 0, 2)),))
THIN = SlotLoad(1, "thin", (ModulePages(1, QUERY, 3, (1,)), ModulePages(0, UP, 2, (3,))))


def delta(pool: HostPool, x: Tensor, slot: int, layer: int, site: Site) -> Tensor:
    base = torch.zeros(len(x), sum(module.out_features for module in SITES[site]))
    step = pool.step((Segment(0, len(x), slot),))
    assert step is not None
    y, beside = step.apply(lambda x, onto=None, *, beside=False: base, x, layer, site)
    assert beside is None
    return y


def product(x: Tensor, weights: tuple[Tensor, Tensor]) -> Tensor:
    return x @ weights[0].T @ weights[1]


def test_adapters_of_different_ranks_live_side_by_side(pool: HostPool, memory: Memory) -> None:
    pool.load(WIDE)
    pool.load(THIN)
    x = torch.randn(5, 6)
    wide, thin = delta(pool, x, 0, 1, Site.QKV), delta(pool, x, 1, 1, Site.QKV)
    torch.testing.assert_close(wide[:, :4], product(x, memory.adapters["wide"][1, QUERY]))
    torch.testing.assert_close(thin[:, :4], product(x, memory.adapters["thin"][1, QUERY]))
    assert not wide[:, 4:].any()
    assert not delta(pool, x, 0, 0, Site.GATE_UP).any()
    assert delta(pool, x, 1, 0, Site.GATE_UP).any()


def test_a_load_replaces_all_that_the_slot_held(pool: HostPool, memory: Memory) -> None:
    pool.load(THIN)
    x = torch.randn(5, 6)
    assert delta(pool, x, 1, 0, Site.GATE_UP).any()
    pool.load(SlotLoad(1, "wide", (ModulePages(1, QUERY, 20, (0, 1, 3)),)))
    assert not delta(pool, x, 1, 0, Site.GATE_UP).any()
    torch.testing.assert_close(delta(pool, x, 1, 1, Site.QKV)[:, :4], product(x, memory.adapters["wide"][1, QUERY]))


def test_a_page_given_to_another_adapter_changes_only_its_owner(pool: HostPool, memory: Memory) -> None:
    pool.load(WIDE)
    pool.load(THIN)
    pool.load(SlotLoad(0, "thin", (ModulePages(1, QUERY, 3, (2,)), ModulePages(0, UP, 2, (0,)))))
    x = torch.randn(5, 6)
    for slot in (0, 1):
        torch.testing.assert_close(
            delta(pool, x, slot, 1, Site.QKV)[:, :4], product(x, memory.adapters["thin"][1, QUERY])
        )


def test_what_gave_its_pages_is_freed_and_what_left_its_slot_before_frees_nobody(
    pool: HostPool, memory: Memory
) -> None:
    x = torch.randn(5, 6)
    pool.load(WIDE)
    pool.load(SlotLoad(0, "thin", (ModulePages(1, QUERY, 3, (3,)), ModulePages(0, UP, 2, (0,)))))
    pool.load(SlotLoad(1, "wide", (ModulePages(1, QUERY, 20, (4, 0, 2)),)))  # the pages that slot 0 had at first
    torch.testing.assert_close(delta(pool, x, 0, 1, Site.QKV)[:, :4], product(x, memory.adapters["thin"][1, QUERY]))
    merged = weakref.ref(held_by(pool, 0))
    pool.load(SlotLoad(1, "wide", (ModulePages(1, QUERY, 20, (1, 3, 2)),)))
    assert merged() is None


def held_by(pool: HostPool, slot: int) -> Tensor:
    step = pool.step((Segment(0, 1, slot),))
    assert step is not None
    return step._parts[1, Site.QKV][0].a


def test_memory_is_what_the_pages_stand_for(pool: HostPool) -> None:
    assert pool.bytes == 2 * 5 * 8 * ((6 + 4) + (6 + 3) + (6 + 5)) * 4
