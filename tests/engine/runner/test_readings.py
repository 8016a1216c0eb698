"""What is read of prompts, by the host's way and by CUDA's, with attention under Triton's interpreter."""

from dataclasses import replace

import pytest
import torch

from chorus_engine.core.plan import BASE_SLOT, Admission, Reading, RowStep, StepPlan
from chorus_engine.core.request import Pooling
from chorus_engine.model import LoadedModel
from chorus_engine.runner import Runner, measure_capacity
from tests.engine.runner.conftest import SETTINGS
from tests.engine.runner.test_device_network import FIRST, GREEDY, SECOND, WORLDS, Adapters

SCORED = replace(GREEDY, max_tokens=4, prompt_logprobs=2)


def plans(adapters: Adapters) -> list[StepPlan]:
    """A mean in two chunks, a last state, log probabilities under an adapter with a head, and a row that is not read;
    then a step of one token each, as graphs compute it."""
    admit = (
        Admission(0, "mean", (1, 2, 3, 4, 5, 6), 6, 0, GREEDY, pooling=Pooling.MEAN),
        Admission(1, "last", (9, 8, 7), 3, BASE_SLOT, GREEDY, pooling=Pooling.LAST),
        Admission(2, "scored", (11, 12, 13, 14, 15, 16, 17), 7, 1, SCORED),
        Admission(3, "plain", (21, 22, 23), 3, 1, GREEDY),
    )
    return [
        StepPlan(1, (), load=(adapters.load(0, FIRST, 0), adapters.load(1, SECOND, 1))),
        StepPlan(
            2,
            (
                RowStep(2, 0, 4, (5, 6), False, read=True),
                RowStep(0, 0, 5, (2, 30), False, read=True),
                RowStep(1, 0, 3, (9,), True),
                RowStep(3, 0, 3, (11, 10), True),
            ),
            admit=admit,
        ),
        StepPlan(
            3,
            (RowStep(3, 3, 1, (), True), RowStep(2, 4, 3, (), True, read=True), RowStep(0, 5, 1, (), True, read=True)),
        ),
        StepPlan(
            4,
            (RowStep(1, 0, 1, (), True, read=True), RowStep(3, 4, 1, (), True)),
            release=(0, 1),
            admit=(Admission(1, "one", (33,), 1, 0, GREEDY, pooling=Pooling.MEAN, blocks=(9,)),),
        ),
    ]


def read(runner: Runner, adapters: Adapters) -> list[tuple[Reading, ...]]:
    pending = [runner.launch(plan) for plan in plans(adapters)]
    return [tuple(sorted(each.result().readings, key=lambda reading: reading.row)) for each in pending]


@pytest.mark.usefixtures("in_two_parts")
def test_both_ways_read_the_same(model: LoadedModel) -> None:
    capacity, adapters = measure_capacity(model, SETTINGS), WORLDS["one has all"]
    host = read(Runner(model, capacity, adapters), adapters)
    device = read(Runner(model, capacity, adapters, eager=True, paged_kernels=True), adapters)

    assert [[reading.row for reading in step] for step in host] == [[], [0, 2], [1, 2], [0]]
    for ours, theirs in zip(host, device, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert one.row == other.row
            assert [token.token_id for token in one.logprobs] == [token.token_id for token in other.logprobs]
            _near([token.logprob or 0.0 for token in one.logprobs], [token.logprob or 0.0 for token in other.logprobs])
            _near(_values(one.embedding), _values(other.embedding))
    assert [token.token_id for step in host for reading in step for token in reading.logprobs] == list(range(12, 18))
    assert all(len(token.top) == 2 for step in host for reading in step for token in reading.logprobs)


def _values(embedding: bytes) -> list[float]:
    return torch.frombuffer(bytearray(embedding), dtype=torch.float32).tolist() if embedding else []


def _near(some: list[float], others: list[float]) -> None:
    torch.testing.assert_close(torch.tensor(some), torch.tensor(others), atol=2e-4, rtol=1e-4)
