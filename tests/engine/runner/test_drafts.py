"""Rows with drafts beside rows without and prompt chunks, on the host's way and on CUDA's: what is drawn stays."""

from collections.abc import Sequence

import pytest
import torch

from chorus_engine.core.plan import BASE_SLOT, Admission, RowStep, StepPlan
from chorus_engine.core.request import SamplingParams
from chorus_engine.model import LoadedModel
from chorus_engine.runner import Runner, RunnerSettings, measure_capacity
from chorus_engine.runner.drafts import agreeing, nth, singles, spans, taken
from tests.engine.runner.test_device_network import FIRST, SECOND, WORLDS

SETTINGS = RunnerSettings(
    max_num_seqs=6, num_kv_blocks=40, block_size=4, max_adapters=2, max_lora_rank=16, max_verified=24
)
VOCAB = 60
PROMPTS = {0: (5, 6, 7, 8, 9), 1: (10, 11, 12), 2: (3, 4, 5, 6, 7, 8), 3: (9,)}
SLOTS = {0: 0, 1: BASE_SLOT, 2: 1, 3: 0}
PARAMS = {
    0: SamplingParams(max_tokens=12, temperature=0.0, logprobs=2),
    1: SamplingParams(max_tokens=12, seed=3),
    2: SamplingParams(max_tokens=12, seed=4, frequency_penalty=1.0, presence_penalty=0.5, repetition_penalty=1.5),
    3: SamplingParams(max_tokens=12, seed=5, top_k=30, top_p=0.9),
}
LATE = Admission(4, "4", (7, 8, 9, 10, 11), 5, 1, SamplingParams(max_tokens=4, temperature=0.0))


class Hand:
    """Four rows, each with its blocks, step by step; a fifth's prompt comes in two chunks beside them."""

    def __init__(self, model: LoadedModel, *, paged: bool) -> None:
        self.adapters = WORLDS["one has all"]
        capacity = measure_capacity(model, SETTINGS)
        self.runner = Runner(model, capacity, self.adapters, eager=True, paged_kernels=paged)
        self.tokens: dict[int, list[int]] = {row: [] for row in PROMPTS}
        self.logprobs: list[float] = []
        self.steps = 0

    def begin(self) -> None:
        load = (self.adapters.load(0, FIRST, 0), self.adapters.load(1, SECOND, 1))
        self.launch((), load=load)
        admit = tuple(Admission(row, "", PROMPTS[row], len(PROMPTS[row]), SLOTS[row], PARAMS[row]) for row in PROMPTS)
        blocks = {row: tuple(range(6 * row, 6 * row + 6)) for row in PROMPTS}
        rows = [RowStep(row, 0, len(prompt), blocks[row], True) for row, prompt in PROMPTS.items()]
        self.launch(tuple(rows), admit=admit)

    def go_on(self, drafts: dict[int, Sequence[int]], beside: tuple[RowStep, ...] = (), **more: object) -> None:
        rows = []
        for row, guessed in drafts.items():
            start = len(PROMPTS[row]) + len(self.tokens[row]) - 1
            rows.append(RowStep(row, start, 1 + len(guessed), (), True, drafts=tuple(guessed)))
        self.launch((*rows, *beside), **more)

    def launch(self, rows: tuple[RowStep, ...], **more: object) -> None:
        self.steps += 1
        result = self.runner.launch(StepPlan(self.steps, rows, **more)).result()  # type: ignore[arg-type] # by name
        for step, sampled in zip(rows, result.sampled, strict=True):
            if step.row in self.tokens:
                self.tokens[step.row] += [token.token_id for token in sampled]
            if step.row == 0:
                self.logprobs += [token.logprob for token in sampled if token.logprob is not None]


@pytest.fixture(scope="module")
def plain(model: LoadedModel) -> Hand:
    hand = Hand(model, paged=False)
    hand.begin()
    for _ in range(11):
        hand.go_on(dict.fromkeys(PROMPTS, ()))
    return hand


@pytest.mark.usefixtures("in_two_parts")
@pytest.mark.parametrize("paged", [False, True])
def test_drafts_change_no_token(model: LoadedModel, plain: Hand, paged: bool) -> None:
    hand = Hand(model, paged=paged)
    hand.begin()

    def right(row: int, count: int) -> list[int]:
        return plain.tokens[row][len(hand.tokens[row]) :][:count]

    def then_wrong(row: int, count: int) -> list[int]:
        return [*right(row, count), (right(row, count + 1)[-1] + 1) % VOCAB, 7]

    chunk = RowStep(4, 0, 3, (30, 31), False)
    hand.go_on({0: right(0, 3), 1: (), 2: then_wrong(2, 2), 3: then_wrong(3, 0)}, (chunk,), admit=(LATE,))
    assert [len(tokens) for tokens in hand.tokens.values()] == [5, 2, 4, 2]
    hand.go_on({3: right(3, 4), 2: right(2, 2), 1: then_wrong(1, 1), 0: then_wrong(0, 2)})
    assert [len(tokens) for tokens in hand.tokens.values()] == [8, 4, 7, 7]
    if not paged:  # the interpreter takes its time
        hand.go_on({0: (), 1: right(1, 3), 2: (), 3: ()}, (RowStep(4, 3, 2, (), True),))
        hand.go_on({0: right(0, 1), 1: (), 2: right(2, 2), 3: right(3, 2)})

    for row, tokens in hand.tokens.items():
        assert tokens == plain.tokens[row][: len(tokens)], f"row {row}"
    assert hand.logprobs == pytest.approx(plain.logprobs[: len(hand.logprobs)], abs=1e-4)


def test_rows_are_taken_apart_in_their_order() -> None:
    steps = (RowStep(3, 0, 4, (), False), RowStep(1, 9, 3, (), True, drafts=(5, 6)), RowStep(2, 7, 1, (), True))
    apart = singles(steps)
    assert [(step.row, step.start, step.count) for step in apart.steps] == [
        (3, 0, 4), (1, 9, 1), (1, 10, 1), (1, 11, 1), (2, 7, 1)
    ]  # fmt: skip
    assert list(apart.origin) == [0, 1, 1, 1, 2]
    assert apart.owners((4, 1, 2, 3)) == [2, 1]
    untouched = singles(steps[::2])
    assert (untouched.steps, untouched.drafted) == (steps[::2], False)


def test_drafts_count_as_far_as_all_before_them_were_right() -> None:
    rows = [4, 4, 4, 7, 2, 2, 2, 2]
    assert spans(rows) == [range(3), range(3, 4), range(4, 8)]
    assert nth(rows) == [0, 1, 2, 0, 0, 1, 2, 3]
    tokens = torch.tensor([10, 11, 12, 13, 14, 15, 16, 17])
    before = torch.tensor([1, 10, 11, 9, 2, 14, 0, 16])
    assert taken(tokens, before, nth(rows)).tolist() == [True, True, True, True, True, True, False, False]
    assert agreeing((10, 11), (10, 11, 12)) == 2
    assert agreeing((14, 0, 16), (14, 15, 16, 17)) == 1
    assert agreeing((), (5,)) == 0
