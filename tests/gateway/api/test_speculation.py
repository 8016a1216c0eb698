"""Tokens guessed ahead: what may be asked for, and what usage tells of them."""

from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError
from openai.types.chat import ChatCompletionMessageParam

from tests.gateway.support.fake_engine import FakeEngine, Reply
from tests.gateway.support.tokenizers import END, ids

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
MODEL = "chorus-demo"
LONG = ids("hello world, this is a small corpus")


@pytest.mark.parametrize(("asked", "sent"), [("off", 0), (0, 0), (16, 16), ("auto", None), (None, None)])
async def test_it_reaches_the_engine(client: AsyncOpenAI, engine: FakeEngine, asked: Any, sent: int | None) -> None:
    extra = {"speculation": asked}
    await client.chat.completions.create(model=MODEL, messages=HELLO, extra_body=extra)
    await client.completions.create(model=MODEL, prompt="hello", extra_body=extra)
    await client.responses.create(model=MODEL, input="hello", extra_body=extra)
    told = [each.sampling.speculation if each.sampling.HasField("speculation") else None for each in engine.submits]
    assert told == [sent] * 3


async def test_usage_tells_what_was_guessed_right(client: AsyncOpenAI, engine: FakeEngine) -> None:
    engine.replier = lambda submit: Reply([*LONG, END], drafted=7, accepted=4)
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


async def test_guesses_past_a_stop_string_are_none_of_the_answers(client: AsyncOpenAI, engine: FakeEngine) -> None:
    """The engine tells of them at once, four of them guessed; the answer ends at the second."""
    engine.replier = lambda submit: Reply(LONG, together=99, drafted=6, accepted=4)
    answer = await client.completions.create(model=MODEL, prompt="hello", stop="world")
    assert answer.usage is not None
    details = answer.usage.completion_tokens_details
    assert details is not None
    assert answer.usage.completion_tokens == len(ids("hello world")) == 2
    assert (details.accepted_prediction_tokens, details.rejected_prediction_tokens) == (1, 5)


@pytest.mark.parametrize("path", ["chat/completions", "completions", "responses"])
@pytest.mark.parametrize("wrong", [17, -1, 1.5, True, "on"])
async def test_what_is_no_number_of_guesses_is_refused(
    client: AsyncOpenAI, engine: FakeEngine, path: str, wrong: Any
) -> None:
    prompt = {"chat/completions": "messages", "completions": "prompt", "responses": "input"}[path]
    body = {"model": MODEL, prompt: HELLO if prompt == "messages" else "hello", "speculation": wrong}
    with pytest.raises(BadRequestError) as refused:
        await client.post(f"/{path}", body=body, cast_to=object)
    assert refused.value.param == "speculation"
    assert engine.submits == []
