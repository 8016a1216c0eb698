"""Beam search through the whole system: the engine's own tests compare it with transformers."""

import math
from typing import Any

import openai
import pytest
from openai.types import Completion, CompletionChoice

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack")]


@pytest.mark.parametrize("model", ["chorus-demo", "chorus-demo@reverse"])
def test_beams_are_likelier_than_the_greedy_answer(client: openai.OpenAI, model: str) -> None:
    def ask(**fields: Any) -> list[CompletionChoice]:
        answer: Completion = client.completions.create(
            model=model, prompt="The garden was", max_tokens=12, temperature=0, logprobs=0, **fields
        )
        return answer.choices

    def search(**fields: Any) -> list[CompletionChoice]:
        return ask(extra_body={"use_beam_search": True, "length_penalty": 0, "early_stopping": "never", **fields})

    (greedy,) = ask()
    (alone,) = search()
    assert alone.text == greedy.text, "one path is the likeliest token at each place"
    beams = search(best_of=6, n=4)
    scores = [_logprob(beam) for beam in beams]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] >= _logprob(greedy) - 1e-4
    assert len({beam.text for beam in beams}) == 4
    again = search(best_of=6, n=4)
    assert [beam.text for beam in again] == [beam.text for beam in beams]


def _logprob(choice: CompletionChoice) -> float:
    assert choice.logprobs is not None
    return math.fsum(value for value in choice.logprobs.token_logprobs or [] if value is not None)
