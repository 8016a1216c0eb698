"""The best of several answers to a prompt."""

from openai import AsyncOpenAI

from chorus_gateway.answer import TokenEntry, TokenView
from chorus_gateway.api.best_of import best
from chorus_gateway.api.collected import CollectedChoice
from tests.gateway.support.fake_engine import FakeEngine, Reply
from tests.gateway.support.tokenizers import END, ids


def choice(index: int, *logprobs: float) -> CollectedChoice:
    tokens = [TokenEntry(TokenView("x", b"x", logprob), (), at) for at, logprob in enumerate(logprobs)]
    return CollectedChoice(index, [str(index)], tokens)


def test_the_likeliest_per_token_of_each_prompt() -> None:
    made = [choice(0, -1), choice(1, -0.5, -0.7), choice(2, -9), choice(3), choice(4, -2), choice(5, -1)]
    chosen = best(made, 3, 2)
    assert [(one.index, one.text) for one in chosen] == [(0, "1"), (1, "0"), (2, "5"), (3, "4")]
    assert best(made, 3, 3) == made


async def test_all_are_made_and_paid_for_and_the_best_are_told(client: AsyncOpenAI, engine: FakeEngine) -> None:
    engine.replier = lambda submit: Reply([*ids(f"number {submit.sampling.seed}"), END])
    answer = await client.completions.create(
        model="chorus-demo", prompt=["hello", "world"], n=1, best_of=3, seed=5, max_tokens=20
    )
    assert [choice.text for choice in answer.choices] == ["number 5", "number 5"]
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.choices[0].logprobs is None
    assert len(engine.submits) == 6
    assert all(submit.sampling.HasField("logprobs") for submit in engine.submits)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(ids("hello")) + len(ids("world"))
    assert answer.usage.completion_tokens > 2 * len(ids("number 5")) + 2
