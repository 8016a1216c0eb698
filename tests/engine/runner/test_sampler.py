"""Sampling through the runner: whatever the batch, a request gets its own tokens."""

import dataclasses
import math
from collections import Counter

import pytest

from chorus_engine.core.plan import BASE_SLOT, Admission, RowStep
from chorus_engine.core.request import SampledToken, SamplingParams
from chorus_engine.model import LoadedModel
from chorus_engine.runner import Runner, measure_capacity
from tests.engine.runner.conftest import SETTINGS, Hand, NoAdapters

PROMPT = (3, 14, 15, 9, 2)


def ids(tokens: list[SampledToken]) -> list[int]:
    return [token.token_id for token in tokens]


def params(**changes: object) -> SamplingParams:
    return dataclasses.replace(SamplingParams(max_tokens=12, seed=5), **changes)  # type: ignore[arg-type] # any field


KINDS = {
    "greedy": params(temperature=0.0),
    "cold": params(temperature=1e-9),
    "plain": params(),
    "filtered": params(top_k=20, top_p=0.9, min_p=0.05, temperature=1.5),
    "penalised": params(presence_penalty=1.0, frequency_penalty=0.5, repetition_penalty=1.3),
    "biased": params(logit_bias=((7, 3.0), (8, -100.0))),
    "other seed": params(seed=2**64 - 1),
    "logprobs": params(logprobs=3),
}


def test_a_request_draws_the_same_alone_and_in_any_batch(model: LoadedModel, hand: Hand) -> None:
    together = hand.generate({row: (PROMPT, kind) for row, kind in enumerate(KINDS.values())})
    for row, kind in enumerate(KINDS.values()):
        fresh = Hand(Runner(model, measure_capacity(model, SETTINGS), NoAdapters()))
        assert ids(fresh.generate({7 - row: (PROMPT, kind)})[7 - row]) == ids(together[row])
    assert ids(together[0]) == ids(together[1])  # too cold is greedy
    assert len({tuple(ids(tokens)) for tokens in together.values()}) >= 5


def test_preemption_changes_no_drawn_token(hand: Hand) -> None:
    kind = params(
        presence_penalty=1.0, frequency_penalty=0.5, repetition_penalty=1.3, min_tokens=4, stop_token_ids=(1,)
    )
    whole = hand.generate({0: (PROMPT, kind)})[0]
    again = Admission(2, "again", (*PROMPT, *ids(whole[:6])), len(PROMPT), BASE_SLOT, kind)
    blocks = tuple(range(20, 25))
    (sampled,) = hand.launch((RowStep(2, 0, len(PROMPT) + 6, blocks, True),), admit=(again,))
    assert sampled[0].token_id == whole[6].token_id
    (sampled,) = hand.launch((RowStep(2, len(PROMPT) + 6, 1, (), True),))
    assert sampled[0].token_id == whole[7].token_id


def test_a_rows_next_request_inherits_nothing(hand: Hand) -> None:
    first = hand.generate({0: (PROMPT, KINDS["penalised"])})[0]
    hand.generate({0: ((1, 2, 3), params(frequency_penalty=2.0, logit_bias=((5, 50.0),)))})
    assert ids(hand.generate({0: (PROMPT, KINDS["penalised"])})[0]) == ids(first)


def test_stop_tokens_wait_for_min_tokens(hand: Hand) -> None:
    always = params(logit_bias=((9, 100.0),), stop_token_ids=(9,), max_tokens=6)
    assert ids(hand.generate({0: (PROMPT, always)})[0]) == [9] * 6
    tokens = ids(hand.generate({0: (PROMPT, dataclasses.replace(always, min_tokens=3))})[0])
    assert 9 not in tokens[:3]
    assert tokens[3:] == [9] * 3


def test_frequency_penalty_spreads_the_tokens(hand: Hand) -> None:
    biased = params(logit_bias=((9, 4.0),), max_tokens=12, temperature=0.0)
    assert Counter(ids(hand.generate({0: (PROMPT, biased)})[0])) == {9: 12}
    penalised = dataclasses.replace(biased, frequency_penalty=1.9)
    assert Counter(ids(hand.generate({0: (PROMPT, penalised)})[0]))[9] < 6


def test_logprobs_come_only_to_those_who_ask(hand: Hand) -> None:
    answers = hand.generate(
        {
            0: (PROMPT, params(temperature=0.0)),
            1: (PROMPT, params(temperature=0.0, logprobs=0)),
            2: (PROMPT, params(temperature=0.0, logprobs=4)),
            3: (PROMPT, params(temperature=0.0, logprobs=99, max_tokens=1)),
        }
    )
    assert {(token.logprob, token.top) for token in answers[0]} == {(None, ())}
    for token, more in zip(answers[1], answers[2], strict=True):
        assert token.top == ()
        assert token.logprob == pytest.approx(more.logprob, abs=1e-5)
        assert len(more.top) == 4
        assert more.top[0] == (more.token_id, more.logprob)  # greedy
        assert sorted(more.top, key=lambda pair: -pair[1]) == list(more.top)
    everything = answers[3][0].top
    assert sum(math.exp(logprob) for _, logprob in everything) == pytest.approx(1.0, abs=1e-5)


def test_logprobs_are_before_temperature_and_bias(hand: Hand) -> None:
    plain = hand.generate({0: (PROMPT, params(temperature=0.0, logprobs=60, max_tokens=1))})[0][0]
    changed = params(temperature=0.3, logit_bias=((11, 40.0),), logprobs=60, max_tokens=1)
    forced = hand.generate({0: (PROMPT, changed)})[0][0]
    assert forced.token_id == 11
    assert dict(forced.top) == pytest.approx(dict(plain.top), abs=1e-5)
    assert forced.logprob == pytest.approx(dict(plain.top)[11], abs=1e-5)
