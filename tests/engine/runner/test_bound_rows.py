"""Rows bound by a constraint are drawn when their masks can be made, and no row beside them waits for that."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from chorus_engine.core.constraint import Constraint, ConstraintKind
from chorus_engine.core.errors import ConstraintRefused, EngineError
from chorus_engine.core.plan import BASE_SLOT, Admission, RowStep, StepPlan
from chorus_engine.core.request import SamplingParams
from chorus_engine.model import LoadedModel
from chorus_engine.runner import Pending, Runner, measure_capacity
from tests.engine.runner.conftest import SETTINGS, NoAdapters

PROMPT = (3, 14, 15, 9, 2)
UP = Constraint(ConstraintKind.LARK, "the next token")
PLAIN = SamplingParams(max_tokens=12, seed=5)
BOUND = dataclasses.replace(PLAIN, constraint=UP)


class Counting:
    """Allows the token after the last one, from 20 on; ends at 25."""

    def __init__(self, produced: Sequence[int]) -> None:
        self.last = produced[-1] if produced else 19
        self.ended = False
        self.error: EngineError | None = None

    def take(self, token: int) -> None:
        if token != self.last + 1:
            self.error = ConstraintRefused(f"{token} is not {self.last + 1}")
        self.last, self.ended = token, token == 25


class Source:
    def __init__(self) -> None:
        self.fills: list[int] = []  # rows of each call

    def matcher(self, constraint: Constraint, produced: Sequence[int]) -> Counting:
        assert constraint is UP
        return Counting(produced)

    def fill(self, matchers: Sequence[tuple[Any, int, Sequence[int]]], masks: NDArray[np.int32]) -> None:
        self.fills.append(len(matchers))
        for matcher, row, drafts in matchers:
            token = matcher.last + 1
            for place, draft in enumerate((*drafts, -1)):
                masks[row + place] = 0
                masks[row + place, token // 32] = 1 << token % 32
                if draft != token or token == 25:
                    break
                token += 1


@pytest.fixture
def source() -> Source:
    return Source()


class Hand:
    """Rows 0 (bound) and 1 (not) of one prompt, a step at a time."""

    def __init__(self, model: LoadedModel, source: Source, bound: SamplingParams = BOUND) -> None:
        self.runner = Runner(model, measure_capacity(model, SETTINGS), NoAdapters(), constraints=source)
        self.params = (bound, PLAIN)
        self.steps = 0

    def launch(self) -> Pending:
        start, self.steps = self.steps, self.steps + 1
        if start:
            rows = tuple(RowStep(row, len(PROMPT) + start - 1, 1, (), True) for row in (0, 1))
            return self.runner.launch(StepPlan(start, rows))
        admit = tuple(
            Admission(row, str(row), PROMPT, len(PROMPT), BASE_SLOT, params) for row, params in enumerate(self.params)
        )
        rows = tuple(RowStep(row, 0, len(PROMPT), tuple(range(row * 5, row * 5 + 5)), True) for row in (0, 1))
        return self.runner.launch(StepPlan(start, rows, admit=admit))


def tokens(pending: Pending) -> list[int]:
    return [row[0].token_id for row in pending.result().sampled]


def test_masks_are_made_once_the_tokens_before_them_are_read(model: LoadedModel, source: Source) -> None:
    hand = Hand(model, source)
    first = hand.launch()
    assert source.fills == [1], "nothing was to be waited for"
    second = hand.launch()
    assert source.fills == [1], "launched, and computed while the first is read"
    first.result()
    assert source.fills == [1, 1]
    third = hand.launch()
    read = [tokens(pending)[0] for pending in (first, second, third)]
    assert read == [20, 21, 22]


def test_steps_may_be_launched_however_far_ahead(model: LoadedModel, source: Source) -> None:
    far = Hand(model, source)
    ahead = [far.launch() for _ in range(5)]
    near = Hand(model, source)
    assert [tokens(pending) for pending in ahead] == [tokens(near.launch()) for _ in range(5)]
    assert [tokens(pending)[0] for pending in ahead] == [20, 21, 22, 23, 24], "a result may be asked for again"


def test_the_last_token_says_that_it_ends_and_one_more_in_flight_disturbs_nobody(
    model: LoadedModel, source: Source
) -> None:
    hand = Hand(model, source)
    ahead = [hand.launch() for _ in range(8)]
    sampled = [pending.result().sampled[0][0] for pending in ahead]
    assert [token.ends for token in sampled[:6]] == [False] * 5 + [True]
    assert [pending.result().failed for pending in ahead] == [()] * 8


def test_a_row_that_cannot_go_on_says_why_in_place_of_a_token(
    model: LoadedModel, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(matcher: Counting, token: int) -> None:
        matcher.error = ConstraintRefused("too much")

    hand = Hand(model, source)
    first = hand.launch()
    monkeypatch.setattr(Counting, "take", refuse)
    second = hand.launch()
    assert [str(error) for _, error in first.result().failed] == ["too much"]
    assert first.result().sampled[0] == ()
    assert len(first.result().sampled[1]) == 1
    assert second.result().failed[0][0] == 0


def test_stop_tokens_wait_for_min_tokens_unless_nothing_else_is_allowed(model: LoadedModel, source: Source) -> None:
    waiting = dataclasses.replace(BOUND, min_tokens=4, stop_token_ids=(21,))
    hand = Hand(model, source, waiting)
    assert [tokens(hand.launch())[0] for _ in range(3)] == [20, 21, 22]
