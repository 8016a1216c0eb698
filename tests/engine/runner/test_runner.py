import pytest
import torch

from chorus_engine.adapters.host import Weights, pack
from chorus_engine.core.plan import BASE_SLOT, Admission, ModulePages, RowStep, SlotLoad, StepPlan
from chorus_engine.core.request import SamplingParams
from chorus_engine.model import LoadedModel
from chorus_engine.runner import Runner, measure_capacity
from chorus_engine.runner.streams import Mark
from tests.engine.runner.conftest import SETTINGS, Hand

GREEDY = SamplingParams(max_tokens=8, temperature=0.0, logprobs=0)
PROMPT = tuple(range(4, 21))


def test_a_step_may_be_launched_before_the_last_is_read(runner: Runner, hand: Hand) -> None:
    expected = hand.generate({0: (PROMPT, GREEDY)})[0]
    admit = (Admission(1, "", PROMPT, len(PROMPT), BASE_SLOT, GREEDY),)
    steps = [RowStep(1, 0, len(PROMPT), tuple(range(30, 37)), True)]
    steps += [RowStep(1, len(PROMPT) + i, 1, (), True) for i in range(7)]
    pending = [runner.launch(StepPlan(i, (step,), admit=() if i else admit)) for i, step in enumerate(steps)]
    assert [p.result().sampled[0][0].token_id for p in pending] == [token.token_id for token in expected]


def test_answers_stand_in_the_plans_order(hand: Hand) -> None:
    prompts = {3: (5, 6, 7), 1: PROMPT, 6: (9,), 0: (1, 2)}
    together = hand.generate({row: (prompt, GREEDY) for row, prompt in prompts.items()})
    for row, prompt in prompts.items():
        assert [t.token_id for t in hand.generate({4: (prompt, GREEDY)})[4]] == [t.token_id for t in together[row]]


def test_rows_that_do_not_sample_return_nothing(hand: Hand) -> None:
    expected = hand.generate({0: (PROMPT, GREEDY)})[0][0]
    admit = (Admission(0, "", PROMPT, len(PROMPT), BASE_SLOT, GREEDY),)
    assert hand.launch((RowStep(0, 0, 7, (1, 2), False),), admit=admit) == ((),)
    assert hand.launch((RowStep(0, 7, 1, (), False),)) == ((),)
    ((token,),) = hand.launch((RowStep(0, 8, 9, (3, 4, 5), True),))
    assert token.token_id == expected.token_id


def test_a_result_waits_for_a_step_that_samples_nothing(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an adapter's pages could be loaded over while the device still reads them."""
    waits: list[Mark] = []
    monkeypatch.setattr(Mark, "wait", lambda mark: waits.append(mark))
    admit = (Admission(0, "", PROMPT, len(PROMPT), BASE_SLOT, GREEDY),)
    pending = runner.launch(StepPlan(0, (RowStep(0, 0, 7, (1, 2), False),), admit=admit))
    assert not waits
    assert pending.result().sampled == ((),)
    assert len(waits) == 1


def test_what_others_left_in_a_block_reaches_nobody(model: LoadedModel) -> None:
    """Blocks are handed out again after rows whose values were not finite."""
    runner = Runner(model, measure_capacity(model, SETTINGS), Poison())
    hand = Hand(runner)
    expected = hand.generate({0: (PROMPT, GREEDY)})[0]
    load = SlotLoad(0, "poison", (ModulePages(0, "self_attn.v_proj", 3, (1,)),))
    longer = (*PROMPT, 1, 2, 3)  # fills the block whose last places the next row leaves empty
    admit = Admission(0, "", longer, len(longer), 0, GREEDY)
    step = RowStep(0, 0, len(longer), tuple(range(5)), False)
    assert runner.launch(StepPlan(100, (step,), admit=(admit,), load=(load,))).result().loaded == (0,)
    runner.launch(StepPlan(101, (), release=(0,)))
    assert hand.generate({0: (PROMPT, GREEDY), 1: ((1,), GREEDY)})[0] == expected


class Poison:
    def get(self, digest: str) -> Weights:
        values = (torch.full((3, 32), torch.inf), torch.full((3, 16), torch.nan))
        return pack({(0, "self_attn.v_proj"): values}, torch.float32, pinned=False)


def test_an_empty_plan_is_a_step(runner: Runner) -> None:
    result = runner.launch(StepPlan(9, ())).result()
    assert (result.step, result.sampled, result.loaded) == (9, (), ())
