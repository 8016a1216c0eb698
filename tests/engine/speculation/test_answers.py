"""Whatever is guessed, answers are those without it: the demo's model, with an adapter and without, on the CPU."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from chorus_engine.core.constraint import Constraint, ConstraintKind
from chorus_engine.core.request import Request, Usage
from chorus_engine.model import LoadedModel, load_draft
from chorus_engine.speculation import Control, NgramProposer, Proposer, ScriptedProposer, Speculator, SuffixProposer
from scripts.stack.config import DEMO
from tests.engine.constraints.support.served import PURCHASE, SETTINGS, Answer, Demo, Run

ASK = "Turn this into JSON: Brinda bought 12 apples in Velsh and 12 apples in Velsh."
KINDS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "cool": {"temperature": 0.3},
    "plain": {},
    "filtered": {"top_k": 20, "top_p": 0.9, "min_p": 0.05, "temperature": 0.7},
    "penalised": {"frequency_penalty": 0.5, "presence_penalty": 0.3, "repetition_penalty": 1.2, "temperature": 0.4},
    "biased": {"logit_bias": ((40, 2.0), (41, -3.0)), "temperature": 0.5},
    "logprobs": {"logprobs": 3, "temperature": 0.4},
    "long enough": {"min_tokens": 30, "temperature": 0.4},
    "bound": {"constraint": PURCHASE, "temperature": 0.6},
    "bound and penalised": {"constraint": PURCHASE, "frequency_penalty": 0.4, "logprobs": 1},
    "digits": {"constraint": Constraint(ConstraintKind.REGEX, "[0-9]{9}"), "min_tokens": 4},
    "off": {"speculation": 0},
    "two": {"speculation": 2, "temperature": 0.5},
    "many": {"speculation": 16, "temperature": 0.0},
}
SCARCE = replace(SETTINGS, num_kv_blocks=12, max_num_batched_tokens=48)
VERIFYING = replace(SETTINGS, max_verified=64)


def requests(demo: Demo) -> list[Request]:
    return [
        demo.request(name, ASK, lora=at % 2 == 0, max_tokens=32, seed=at, **kind)
        for at, (name, kind) in enumerate(KINDS.items())
    ]


@pytest.fixture(scope="module")
def plain(demo: Demo) -> Run:
    return demo.run(requests(demo))


def speculate(proposer: Proposer | None, most: int = 6) -> Speculator:
    return Speculator(proposer, Control(most))


def scripted(run: Run, acceptance: float) -> ScriptedProposer:
    return ScriptedProposer(lambda request: run.answers[request.id].ids, acceptance, vocab=512, seed=3)


def same(speculated: Run, plain: Run) -> None:
    for name, answer in plain.answers.items():
        other = speculated.answers[name]
        assert (other.ids, other.finish) == (answer.ids, answer.finish), name
        assert logprobs(other) == pytest.approx(logprobs(answer), abs=1e-4)


def logprobs(answer: Answer) -> list[float]:
    return [token.logprob for token in answer.tokens if token.logprob is not None]


def usages(run: Run) -> Sequence[Usage]:
    return [answer.usage for answer in run.answers.values() if answer.usage is not None]


@pytest.fixture(scope="module")
def draft(demo: Demo) -> LoadedModel:
    return load_draft(DEMO / "draft", demo.loaded, DEMO / "model")


@pytest.mark.parametrize(
    ("way", "depth"), [("ngram", 1), ("suffix", 2), ("scripted", 1), ("scripted", 2), ("draft", 1), ("draft", 2)]
)
def test_answers_are_those_without_drafts(demo: Demo, draft: LoadedModel, plain: Run, way: str, depth: int) -> None:
    proposers: dict[str, Proposer | None] = {
        "draft": None,
        "ngram": NgramProposer(),
        "suffix": SuffixProposer(),
        "scripted": scripted(plain, 0.7),
    }
    guesser = draft if way == "draft" else None
    speculator = speculate(proposers[way])
    run = demo.run(requests(demo), depth=depth, settings=VERIFYING, speculator=speculator, draft=guesser)
    same(run, plain)
    accepted = sum(usage.accepted_tokens for usage in usages(run))
    assert accepted > {"scripted": 100, "draft": 60}.get(way, 5)
    assert run.steps <= plain.steps
    off = run.answers["off"].usage
    assert off is not None
    assert off.drafted_tokens == 0
    for usage in usages(run):
        assert usage.accepted_tokens <= min(usage.drafted_tokens, usage.completion_tokens)


@pytest.mark.parametrize("swap", [0, 1 << 24])
def test_preemption_and_chunks_change_no_token(demo: Demo, plain: Run, swap: int) -> None:
    settings = replace(SCARCE, swap_bytes=swap, max_verified=40)
    run = demo.run(requests(demo), depth=2, settings=settings, speculator=speculate(scripted(plain, 0.8)))
    assert run.preemptions > 0
    same(run, plain)


@pytest.mark.parametrize("swap", [0, 1 << 24])
def test_a_draft_model_goes_through_preemption_and_chunks_too(
    demo: Demo, draft: LoadedModel, plain: Run, swap: int
) -> None:
    settings = replace(SCARCE, swap_bytes=swap, max_verified=40)
    run = demo.run(requests(demo), depth=2, settings=settings, speculator=speculate(None), draft=draft)
    assert run.preemptions > 0
    assert sum(usage.accepted_tokens for usage in usages(run)) > 40
    same(run, plain)
