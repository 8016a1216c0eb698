"""CUDA's way through the model, with the references in the kernels' place and attention under Triton's interpreter."""

import pytest
import torch

from chorus_engine.adapters.host import Weights, pack
from chorus_engine.core.plan import BASE_SLOT, Admission, ModulePages, RowStep, SlotLoad, StepPlan
from chorus_engine.core.request import SamplingParams
from chorus_engine.core.spec import EMBEDDING, HEAD, OUTER_LAYER
from chorus_engine.model import LoadedModel
from chorus_engine.runner import Runner, measure_capacity
from tests.engine.runner.conftest import SETTINGS

GREEDY = SamplingParams(max_tokens=4, temperature=0.0)
MODULES = {(0, "self_attn.q_proj"): (32, 32), (1, "mlp.down_proj"): (48, 32), (1, "self_attn.v_proj"): (32, 16)}
OUTER = {(OUTER_LAYER, EMBEDDING): (60, 32), (OUTER_LAYER, HEAD): (32, 60)}


Sizes = dict[tuple[int, str], tuple[int, int]]


class Adapters:
    """Two adapters of other ranks, strong enough to change tokens."""

    def __init__(self, modules: dict[str, Sizes]) -> None:
        self.modules = modules

    def get(self, digest: str) -> Weights:
        torch.manual_seed(len(digest))
        rank = len(digest)
        pairs = {key: (torch.randn(rank, i), torch.randn(rank, o)) for key, (i, o) in self.modules[digest].items()}
        return pack(pairs, torch.float32, pinned=False)

    def load(self, slot: int, digest: str, page: int) -> SlotLoad:
        pages, modules = tuple(range(page, page + -(-len(digest) // 8))), self.modules[digest]
        return SlotLoad(slot, digest, tuple(ModulePages(layer, path, len(digest), pages) for layer, path in modules))


FIRST, SECOND = "abc", "abcdefghijk"
WORLDS = {
    "layers alone": Adapters({FIRST: MODULES, SECOND: MODULES}),
    "one has all": Adapters({FIRST: MODULES, SECOND: MODULES | OUTER}),
    "head or embedding": Adapters(
        {FIRST: {(OUTER_LAYER, EMBEDDING): (60, 32)}, SECOND: MODULES | {(OUTER_LAYER, HEAD): (32, 60)}}
    ),
}


def plans(adapters: Adapters) -> list[StepPlan]:
    """Prompts in chunks beside rows that decode, adapters and the base mixed, rows that end and rows that begin."""
    admit = tuple(
        Admission(row, str(row), tuple(range(row + 1, row + 1 + length)), length, slot, GREEDY)
        for row, length, slot in ((0, 5, 0), (1, 9, BASE_SLOT), (2, 6, 1), (3, 1, 0))
    )
    later = Admission(4, "4", (7, 8, 9), 3, 1, GREEDY)
    return [
        StepPlan(1, (), load=(adapters.load(0, FIRST, 0), adapters.load(1, SECOND, 1))),
        StepPlan(
            2,
            (
                RowStep(1, 0, 4, (5, 6, 7), False),
                RowStep(0, 0, 5, (2, 30), True),
                RowStep(3, 0, 1, (9,), True),
                RowStep(2, 0, 3, (11, 10), False),
            ),
            admit=admit,
        ),
        StepPlan(3, (RowStep(2, 3, 3, (), True), RowStep(0, 5, 1, (), True), RowStep(1, 4, 5, (), True))),
        StepPlan(4, (RowStep(0, 6, 1, (), True), RowStep(1, 9, 1, (), True), RowStep(2, 6, 1, (), True))),
        StepPlan(
            5,
            (RowStep(4, 0, 3, (0, 1), True), RowStep(2, 7, 1, (), True), RowStep(3, 1, 1, (), True)),
            release=(0, 1),
            admit=(later,),
        ),
        StepPlan(6, (RowStep(4, 3, 1, (), True), RowStep(2, 8, 1, (12,), True), RowStep(3, 2, 1, (), True))),
    ]


def run(runner: Runner, adapters: Adapters) -> list[tuple[tuple[int, ...], ...]]:
    results = [runner.launch(plan).result() for plan in plans(adapters)]
    return [tuple(tuple(token.token_id for token in row) for row in result.sampled) for result in results]


@pytest.mark.usefixtures("in_two_parts")
@pytest.mark.parametrize(("depth", "world"), [(1, "one has all"), (2, "layers alone"), (2, "head or embedding")])
def test_says_what_the_hosts_way_says(model: LoadedModel, depth: int, world: str) -> None:
    capacity, adapters = measure_capacity(model, SETTINGS), WORLDS[world]
    expected = run(Runner(model, capacity, adapters), adapters)

    runner = Runner(model, capacity, adapters, eager=True, paged_kernels=True)
    if depth == 1:
        assert run(runner, adapters) == expected
    else:
        pending = [runner.launch(plan) for plan in plans(adapters)]  # nothing is read before all are launched
        sampled = [tuple(tuple(t.token_id for t in row) for row in p.result().sampled) for p in pending]
        assert sampled == expected
