"""Constraints with graphs and overlapped steps.

They need llguidance, which a machine with a GPU may not bring along. Where there is no network, unpack the wheel that
`pip download --no-deps llguidance==1.9.1` gets (llguidance-1.9.1-cp39-abi3-manylinux_2_31_x86_64.whl, 3 MB) into a
folder on PYTHONPATH.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from chorus_engine.core.constraint import Constraint, ConstraintKind
from chorus_engine.core.request import FinishReason, Request

pytest.importorskip("llguidance", reason="needs llguidance 1.9.1 unpacked on PYTHONPATH")

from tests.engine.constraints.support.served import PURCHASE, Demo

DEMO = Path(__file__).parents[2] / "examples" / "demo"
ASK = "Turn this into JSON: Brinda bought 12 apples in Velsh."
DIGITS = Constraint(ConstraintKind.REGEX, "[0-9]{12}")


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    torch.backends.cuda.matmul.allow_tf32 = False
    made = Demo(DEMO / "model", DEMO / "adapters" / "extract", "cuda")
    yield made
    made.room.close()


def free(demo: Demo) -> list[Request]:
    kinds: tuple[dict[str, Any], ...] = (
        {"temperature": 0.0},
        {},
        {"top_k": 20, "top_p": 0.9},
        {"frequency_penalty": 0.5},
        {"logprobs": 3},
    )
    return [demo.request(f"free {at}", ASK, lora=at % 2 == 0, max_tokens=40, **kind) for at, kind in enumerate(kinds)]


def bound(demo: Demo, count: int = 12) -> list[Request]:
    kinds: tuple[dict[str, Any], ...] = (
        {"temperature": 0.0},
        {},
        {"top_p": 0.9},
        {"repetition_penalty": 1.2},
        {"logprobs": 3},
        {"min_tokens": 30},
    )
    return [
        demo.request(
            f"bound {at}",
            ASK,
            PURCHASE if at % 3 else DIGITS,
            lora=at % 2 == 1,
            max_tokens=60,
            seed=at,
            **kinds[at % 6],
        )
        for at in range(count)
    ]


@pytest.mark.parametrize("depth", [1, 2])
def test_answers_keep_to_their_constraints(demo: Demo, depth: int) -> None:
    run = demo.run([*free(demo), *bound(demo)], depth=depth)
    assert run.most_in_flight == depth
    for name, answer in run.answers.items():
        if name.startswith("bound"):
            assert answer.finish is FinishReason.STOP, (name, answer.text, answer.error)
            if int(name.split()[1]) % 3:
                assert set(json.loads(answer.text)) == {"who", "count"}
            else:
                assert re.fullmatch("[0-9]{12}", answer.text)


def test_overlapped_steps_draw_the_same(demo: Demo) -> None:
    requests = [*free(demo), *bound(demo)]
    one, two = (demo.run(requests, depth=depth).answers for depth in (1, 2))
    assert {name: answer.ids for name, answer in one.items()} == {name: answer.ids for name, answer in two.items()}


def test_neighbours_draw_what_they_draw_alone(demo: Demo) -> None:
    alone = demo.run(free(demo), depth=2).answers
    beside = demo.run([*bound(demo), *free(demo)], depth=2).answers
    for name, answer in alone.items():
        assert beside[name].ids == answer.ids


def test_greedy_answers_are_the_cpus(demo: Demo) -> None:
    cpu = Demo(DEMO / "model", DEMO / "adapters" / "extract")
    try:
        wanted = cpu.run([request for request in bound(cpu) if request.sampling.temperature == 0]).answers
    finally:
        cpu.room.close()
    answers = demo.run([request for request in bound(demo) if request.sampling.temperature == 0], depth=2).answers
    assert {name: answer.ids for name, answer in answers.items()} == {name: a.ids for name, a in wanted.items()}
