"""Vectors and scored prompts from the whole system, through the openai client."""

import openai
import pytest

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack")]
BASE, ADAPTER = "chorus-demo", "chorus-demo@reverse"
TEXTS = ["Reverse the word garden.", "The train was late again.", "a", "Reverse the word gardens."]


def test_vectors_are_of_length_one_and_depend_on_text_and_model_alone(client: openai.OpenAI) -> None:
    together = [each.embedding for each in client.embeddings.create(model=BASE, input=TEXTS).data]
    alone = [client.embeddings.create(model=BASE, input=text).data[0].embedding for text in TEXTS]
    adapted = [each.embedding for each in client.embeddings.create(model=ADAPTER, input=TEXTS).data]
    for one, other, third in zip(together, alone, adapted, strict=True):
        assert _cosine(one, one) == pytest.approx(1, abs=1e-4)
        assert _cosine(one, other) == pytest.approx(1, abs=1e-4)
        assert _cosine(one, third) < 0.999
    assert _cosine(together[0], together[3]) > _cosine(together[0], together[1])


@pytest.mark.parametrize("model", [BASE, ADAPTER])
def test_a_scored_text_has_the_log_probabilities_that_it_was_drawn_with(client: openai.OpenAI, model: str) -> None:
    prompt = "The garden"
    drawn = client.completions.create(model=model, prompt=prompt, max_tokens=12, seed=1, logprobs=0).choices[0]
    scored = client.completions.create(
        model=model, prompt=prompt, max_tokens=12, seed=1, logprobs=0, echo=True
    ).choices[0]
    again = client.completions.create(model=model, prompt=scored.text, max_tokens=0, logprobs=0, echo=True).choices[0]
    assert scored.text == prompt + drawn.text
    assert again.text == scored.text
    assert drawn.logprobs is not None
    assert scored.logprobs is not None
    assert again.logprobs is not None
    assert drawn.logprobs.token_logprobs is not None
    assert scored.logprobs.token_logprobs is not None
    count = len(drawn.logprobs.token_logprobs)
    assert scored.logprobs.token_logprobs[-count:] == pytest.approx(drawn.logprobs.token_logprobs, abs=1e-3)
    if again.logprobs.tokens == scored.logprobs.tokens:  # else the text is cut into other tokens
        assert again.logprobs.token_logprobs is not None
        assert again.logprobs.token_logprobs[1:] == pytest.approx(scored.logprobs.token_logprobs[1:], abs=1e-3)


def _cosine(some: list[float], others: list[float]) -> float:
    return sum(one * other for one, other in zip(some, others, strict=True))
