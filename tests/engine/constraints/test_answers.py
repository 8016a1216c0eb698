"""Constraints beside everything else that a request may ask for: the demo's model with an adapter, on the CPU."""

import json
import re
from dataclasses import replace
from typing import Any, cast

import pytest

from chorus_engine.constraints.matcher import GrammarMatcher
from chorus_engine.core.constraint import Constraint, ConstraintKind
from chorus_engine.core.errors import ConstraintRefused
from chorus_engine.core.request import FinishReason, Request, SamplingParams
from tests.engine.constraints.support.served import PURCHASE, SETTINGS, Answer, Demo

ASK = "Turn this into JSON: Brinda bought 12 apples in Velsh."
DIGITS = Constraint(ConstraintKind.REGEX, "[0-9]{12}")
FREE: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "plain": {},
    "filtered": {"top_k": 20, "top_p": 0.9, "min_p": 0.05},
    "penalised": {"frequency_penalty": 0.5, "repetition_penalty": 1.2},
    "logprobs": {"logprobs": 3},
}
TEXTS = ["red", "<|end|>", 'q"\n', "ü"]
LIST = 'start: "<" NAME ("," NAME)~2 ">"\nNAME: /[A-Z][a-z]{0,3}/'
KINDS = {
    "object": (Constraint(ConstraintKind.JSON_OBJECT), r"\{.*\}"),
    "regex": (Constraint(ConstraintKind.REGEX, "(yes|no), [a-z]{3,5}!"), "(yes|no), [a-z]{3,5}!"),
    "choice": (
        Constraint(ConstraintKind.CHOICE, json.dumps(["red", "<|end|>", 'q"\n', "ü"])),
        'red|<\\|end\\|>|q"\n|ü',
    ),
    "lark": (
        Constraint(ConstraintKind.LARK, 'start: "<" NAME ("," NAME)~2 ">"\nNAME: /[A-Z][a-z]{0,3}/'),
        "<(\\w+,?){3}>",
    ),
    "nothing": (Constraint(ConstraintKind.CHOICE, '[""]'), ""),
}


def free(demo: Demo) -> list[Request]:
    return [
        demo.request(f"free {name}", ASK, lora=at % 2 == 0, max_tokens=24, **changes)
        for at, (name, changes) in enumerate(FREE.items())
    ]


def bound(demo: Demo) -> list[Request]:
    return [
        demo.request(f"bound {name}", ASK, PURCHASE, lora=at % 2 == 1, max_tokens=60, seed=at, **changes)
        for at, (name, changes) in enumerate(FREE.items())
    ]


def logprobs(answer: Answer) -> list[float]:
    return [token.logprob for token in answer.tokens if token.logprob is not None]


def test_neighbours_draw_what_they_draw_alone(demo: Demo) -> None:
    alone = demo.run(free(demo)).answers
    for depth in (1, 2, 3):
        together = demo.run([*bound(demo), *free(demo)], depth=depth)
        assert together.most_in_flight == depth
        for name, answer in alone.items():
            beside = together.answers[name]
            assert beside.ids == answer.ids
            assert logprobs(beside) == pytest.approx(logprobs(answer), abs=1e-4)


def test_a_bound_request_draws_the_same_in_any_batch_and_overlap(demo: Demo) -> None:
    together = {depth: demo.run([*free(demo), *bound(demo)], depth=depth).answers for depth in (1, 2, 3)}
    for request in bound(demo):
        alone = demo.run([request], depth=2).answers[request.id]
        assert alone.finish is FinishReason.STOP
        parsed = json.loads(alone.text)
        assert set(parsed) == {"who", "count"}
        for answers in together.values():
            assert answers[request.id].ids == alone.ids


def test_preemption_changes_no_token(demo: Demo) -> None:
    """Matchers begin anew and take what was produced before."""
    requests = [*bound(demo), *free(demo)]
    roomy = demo.run(requests)
    for swap in (0, 1 << 24):
        scarce = demo.run(requests, depth=2, settings=replace(SETTINGS, num_kv_blocks=12, swap_bytes=swap))
        assert scarce.preemptions > 0
        assert roomy.preemptions == 0
        assert {name: a.ids for name, a in scarce.answers.items()} == {name: a.ids for name, a in roomy.answers.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_answers_keep_to_each_kind(demo: Demo, kind: str) -> None:
    constraint, pattern = KINDS[kind]
    requests = [demo.request(str(seed), ASK, constraint, seed=seed, max_tokens=120) for seed in range(4)]
    for answer in demo.run(requests, depth=2).answers.values():
        if kind == "object" and answer.finish is FinishReason.LENGTH:
            continue  # a random object may be long
        assert answer.finish is FinishReason.STOP
        assert re.fullmatch(pattern, answer.text, re.DOTALL), answer.text
        if kind == "object":
            json.loads(answer.text)


def test_choices_of_one_prompt_differ_and_repeat(demo: Demo) -> None:
    requests = [demo.request(str(seed), ASK, DIGITS, seed=seed) for seed in range(6)]
    first, again = (demo.run(requests, depth=depth).answers for depth in (1, 2))
    assert len({tuple(answer.ids) for answer in first.values()}) > 3
    assert {name: a.ids for name, a in first.items()} == {name: a.ids for name, a in again.items()}


def test_log_probabilities_are_before_the_mask(demo: Demo) -> None:
    prompt = demo.request("0", ASK, DIGITS, max_tokens=1, logprobs=20, temperature=0.0)
    answer = demo.run([prompt]).answers["0"].tokens[0]
    plain = demo.run([replace(prompt, sampling=replace(prompt.sampling, constraint=None))]).answers["0"].tokens[0]
    assert answer.top == plain.top
    assert answer.token_id != plain.token_id
    assert answer.logprob is not None
    assert plain.logprob is not None
    assert answer.logprob < plain.logprob


def test_the_constraint_decides_where_limits_of_the_end_disagree(demo: Demo) -> None:
    """min_tokens holds a stop token back while there is anything else; ignore_eos lets no answer go on past its end."""
    some = Constraint(ConstraintKind.REGEX, "a{1,3}b?")
    whole = demo.request("0", ASK, some, min_tokens=20, max_tokens=40)
    answer = _answer(demo, whole)
    assert answer.text == "aaab"
    assert answer.finish is FinishReason.STOP
    endless = replace(whole, sampling=replace(whole.sampling, stop_token_ids=(), min_tokens=0))
    answer = _answer(demo, endless)
    assert re.fullmatch("a{1,3}b?", answer.text)
    assert answer.finish is FinishReason.STOP


def test_what_does_not_fit_is_cut(demo: Demo) -> None:
    answer = _answer(demo, demo.request("0", ASK, DIGITS, max_tokens=5))
    assert answer.finish is FinishReason.LENGTH
    assert re.fullmatch("[0-9]{5}", answer.text)


def test_an_output_that_cannot_be_followed_ends_alone(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []

    class Limited:
        """As a state does whose limits are spent after a few tokens."""

        def __init__(self, state: object) -> None:
            self._state, self._taken = state, 0
            made.append(self)

        def consume_token(self, token: int) -> bool:
            self._taken += 1
            return bool(self._state.consume_token(token))  # type: ignore[attr-defined] # llguidance's own

        def is_error(self) -> bool:
            return self._taken > 3

        def get_error(self) -> str:
            return "Parser Error: too complex\n<state>"

        def __getattr__(self, name: str) -> object:
            return getattr(self._state, name)

    def limited(state: Any, produced: Any, lane: int) -> GrammarMatcher:
        return GrammarMatcher(cast(Any, Limited(state)), produced, lane)

    monkeypatch.setattr("chorus_engine.constraints.lanes.GrammarMatcher", limited)
    alone = demo.run(free(demo)).answers
    served = demo.run([*free(demo), demo.request("bad", ASK, DIGITS)], depth=2).answers
    assert made
    assert served["bad"].finish is FinishReason.ERROR
    assert isinstance(served["bad"].error, ConstraintRefused)
    assert len(served["bad"].tokens) == 3
    assert {name: served[name].ids for name in alone} == {name: a.ids for name, a in alone.items()}


def test_stop_tokens_of_the_request_end_a_bound_answer(demo: Demo) -> None:
    (two,) = demo.tokenizer.encode("2", add_special_tokens=False).ids
    biased = demo.request("0", ASK, DIGITS, logit_bias=((two, 100.0),))
    stopping = replace(biased, sampling=_stopped_by(biased.sampling, two))
    assert _answer(demo, biased).text == "2" * 12
    answer = _answer(demo, stopping)
    assert (answer.text, answer.finish) == ("2", FinishReason.STOP)


def _stopped_by(sampling: SamplingParams, token: int) -> SamplingParams:
    return replace(sampling, stop_token_ids=(*sampling.stop_token_ids, token))


def _answer(demo: Demo, request: Request) -> Answer:
    return demo.run([request], depth=2).answers[request.id]
