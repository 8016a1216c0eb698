"""The served model as its own draft model guesses rightly whatever went before; another one changes no token either."""

import dataclasses
import random
from collections.abc import Sequence

import pytest
import torch

from chorus_engine.core.plan import BASE_SLOT, Admission, RowStep, StepPlan
from chorus_engine.core.request import SamplingParams
from chorus_engine.model import LoadedModel
from chorus_engine.runner import Runner, measure_capacity
from tests.engine.runner.conftest import SETTINGS, NoAdapters

GUESSES = 3
TOKENS = 12
SMALL = dataclasses.replace(SETTINGS, max_verified=16, swap_bytes=1 << 20)
PROMPTS = ((5, 6, 7, 8, 9, 10, 11), (50,), tuple(range(3, 20)))
ASKED = (
    SamplingParams(TOKENS, temperature=0.0),
    SamplingParams(TOKENS, temperature=0.8, seed=3),
    SamplingParams(TOKENS, temperature=1.3, seed=2**64 - 5, top_k=20),
)


class Rows:
    """Requests on rows whose blocks never move, each going its own way."""

    def __init__(self, runner: Runner, prompts: Sequence[tuple[int, ...]] = PROMPTS) -> None:
        self.runner = runner
        self.asked = prompts
        self.steps = 0
        self.tokens: dict[int, list[int]] = {}
        self.prompts: dict[int, int] = {}
        self.offered = self.taken = 0

    def plan(self, *steps: RowStep, **also: tuple[object, ...]) -> None:
        self.steps += 1
        result = self.runner.launch(StepPlan(self.steps, steps, **also)).result()  # type: ignore[arg-type] # by name
        assert not result.failed
        for step, sampled in zip(steps, result.sampled, strict=True):
            self.tokens[step.row].extend(token.token_id for token in sampled)
            self.offered += step.guesses
            self.taken += max(0, len(sampled) - 1)

    def begin(self, chunk: int = 64) -> None:
        admit = []
        for row, (prompt, sampling) in enumerate(zip(self.asked, ASKED, strict=False)):
            admit.append(Admission(row, str(row), prompt, len(prompt), BASE_SLOT, sampling))
            self.tokens[row], self.prompts[row] = [], len(prompt)
        for start in range(0, max(map(len, self.asked)), chunk):
            steps = []
            for row, prompt in enumerate(self.asked):
                count = min(chunk, len(prompt) - start)
                blocks = tuple(range(row * 10, row * 10 + 10)) if start == 0 else ()
                if count > 0:
                    steps.append(RowStep(row, start, count, blocks, start + count == len(prompt)))
            self.plan(*steps, admit=tuple(admit))
            admit = []

    def go_on(self, guesses: Sequence[int]) -> None:
        """A step of each row that lacks tokens."""
        steps = []
        for row, asked in enumerate(guesses):
            left = TOKENS - len(self.tokens[row])
            if left > 0:
                most = min(asked, left - 1)
                start = self.prompts[row] + len(self.tokens[row]) - 1
                steps.append(RowStep(row, start, 1 + most, (), True, guesses=most))
        self.plan(*steps)

    @property
    def done(self) -> bool:
        return all(len(tokens) >= TOKENS for tokens in self.tokens.values())


def answers(runner: Runner, guesses: Sequence[int]) -> tuple[dict[int, list[int]], Rows]:
    rows = Rows(runner)
    rows.begin()
    while not rows.done:
        rows.go_on(guesses)
    return rows.tokens, rows


def make(model: LoadedModel, draft: LoadedModel | None, *, device: bool = False) -> Runner:
    capacity = measure_capacity(model, SMALL, draft)
    return Runner(model, capacity, NoAdapters(), eager=True, paged_kernels=device, draft=draft)


@pytest.fixture
def other(model: LoadedModel) -> LoadedModel:
    """A smaller model that takes each token for another, and so mostly guesses wrongly."""
    decoder = model.decoder
    smaller = dataclasses.replace(
        decoder,
        config=dataclasses.replace(decoder.config, num_layers=1),
        layers=decoder.layers[:1],
        embedding=decoder.embedding.roll(1, 0),
    )
    return dataclasses.replace(model, decoder=smaller)


def test_its_own_guesses_are_all_taken(model: LoadedModel) -> None:
    plain, _ = answers(make(model, None), (0, 0, 0))
    tokens, rows = answers(make(model, model), (GUESSES,) * 3)
    assert tokens == plain
    assert rows.taken == rows.offered


@pytest.mark.parametrize("guesses", [(1, 1, 1), (3, 0, 2), (5, 2, 0)])
def test_wrong_guesses_change_no_token(model: LoadedModel, other: LoadedModel, guesses: tuple[int, ...]) -> None:
    plain, _ = answers(make(model, None), (0, 0, 0))
    tokens, rows = answers(make(model, other), guesses)
    assert tokens == plain
    assert rows.taken < rows.offered


@pytest.mark.parametrize("chunk", [3, 64])
def test_what_went_by_without_guesses_is_caught_up(model: LoadedModel, chunk: int) -> None:
    runner = make(model, model)
    rows = Rows(runner)
    rows.begin(chunk)
    draw = random.Random(1)
    while not rows.done:
        rows.go_on([draw.choice((0, 0, 2)), draw.choice((0, 1)), 0])
    assert rows.offered
    assert rows.taken == rows.offered
    assert rows.tokens == answers(make(model, None), (0, 0, 0))[0]


def test_a_long_gap_is_caught_up_in_pieces(model: LoadedModel) -> None:
    settings = dataclasses.replace(SMALL, max_num_batched_tokens=4)
    runner = Runner(model, measure_capacity(model, settings, model), NoAdapters(), draft=model)
    rows = Rows(runner)
    rows.begin(chunk=2)
    for _ in range(8):
        rows.go_on((0, 0, 0))
    rows.go_on((1, 2, 0))
    assert (rows.offered, rows.taken) == (3, 3)


def test_blocks_are_moved_for_both(model: LoadedModel) -> None:
    """Row 0's blocks are copied, swapped out and back in under another row, which guesses as well as row 0 would."""
    rows = Rows(make(model, model))
    rows.begin()
    rows.plan(release=(1, 2), swap_out=((0, 3), (1, 2)))
    rows.prompts[1], rows.tokens[1] = rows.prompts[0], [*rows.tokens[0]]
    rows.tokens.pop(2)
    known = (*PROMPTS[0], *rows.tokens[0])
    admission = Admission(1, "1", known, len(PROMPTS[0]), BASE_SLOT, ASKED[0], (30, 31))
    step = RowStep(1, 7, 1 + GUESSES, (32, 33), True, guesses=GUESSES)
    rows.plan(step, admit=(admission,), swap_in=((3, 30),), copy=((1, 31),))
    assert (rows.offered, rows.taken) == (GUESSES, GUESSES)


@pytest.mark.usefixtures("in_two_parts")
def test_cudas_way_guesses_alike(other: LoadedModel) -> None:
    plain, rows = Rows(make(other, None), PROMPTS[:2]), Rows(make(other, other, device=True), PROMPTS[:2])
    for each, guesses in ((plain, [(0, 0)] * 3), (rows, [(2, 1)])):
        each.begin()
        for of_step in guesses:
            each.go_on(of_step)
    assert (rows.offered, rows.taken) == (3, 3)
    assert all(tokens == plain.tokens[row][: len(tokens)] for row, tokens in rows.tokens.items())


def test_its_cache_is_counted(model: LoadedModel, other: LoadedModel) -> None:
    sized = dataclasses.replace(SMALL, num_kv_blocks=None, kv_cache_bytes=300 * 1024)
    alone, both = measure_capacity(model, sized), measure_capacity(model, sized, other)
    assert both.num_blocks + 1 == (alone.num_blocks + 1) * 2 // 3
    assert both.swap_blocks == alone.swap_blocks * 2 // 3
    assert make(model, other).memory.kv_cache == make(model, None).memory.kv_cache * 3 // 2


def test_it_computes_nothing_where_nobody_guesses(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = make(model, model)
    rows = Rows(runner)
    rows.begin()
    calls = 0
    original = type(model.decoder).hidden

    def counted(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        return original(*arguments)  # type: ignore[arg-type] # whatever it takes

    monkeypatch.setattr(type(model.decoder), "hidden", counted)
    rows.go_on((0, 0, 0))
    assert calls == 1
    rows.go_on((2, 0, 0))
    assert calls == 1 + 1 + 3
    assert torch.is_inference_mode_enabled() is False
