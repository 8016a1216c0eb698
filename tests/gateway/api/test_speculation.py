"""Tokens guessed ahead: what may be asked for, and what usage tells of them."""

from typing import Any

import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam

from tests.gateway.support.fake_engine import FakeEngine, Reply
from tests.gateway.support.tokenizers import END, ids

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
MODEL = "chorus-demo"


@pytest.mark.parametrize(("asked", "sent"), [("off", 0), (0, 0), (16, 16), ("auto", None), (None, None)])
async def test_it_reaches_the_engine(client: AsyncOpenAI, engine: FakeEngine, asked: Any, sent: int | None) -> None:
    extra = {"speculation": asked}
    await client.chat.completions.create(model=MODEL, messages=HELLO, extra_body=extra)
    await client.completions.create(model=MODEL, prompt="hello", extra_body=extra)
    await client.responses.create(model=MODEL, input="hello", extra_body=extra)
    told = [each.sampling.speculation if each.sampling.HasField("speculation") else None for each in engine.submits]
    assert told == [sent] * 3


async def test_usage_tells_what_was_guessed_right(client: AsyncOpenAI, engine: FakeEngine) -> None:
    engine.replier = lambda submit: Reply([*ids("hello"), END], drafted=7, accepted=4)
    chat = await client.chat.completions.create(model=MODEL, messages=HELLO, n=2)
    text = await client.completions.create(model=MODEL, prompt="hello")
    response = await client.responses.create(model=MODEL, input="hello")
    assert chat.usage is not None
    assert text.usage is not None
    assert response.usage is not None
    for details, choices in ((chat.usage.completion_tokens_details, 2), (text.usage.completion_tokens_details, 1)):
        assert details is not None
        told = details.accepted_prediction_tokens, details.rejected_prediction_tokens
        assert told == (4 * choices, 3 * choices)
    told_of = response.usage.output_tokens_details.model_dump()
    assert (told_of["accepted_prediction_tokens"], told_of["rejected_prediction_tokens"]) == (4, 3)
