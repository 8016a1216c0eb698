"""Texts to tokens and back, over real HTTP."""

import json
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from tests.gateway.support.fake_engine import FakeEngine
from tests.gateway.support.tokenizers import END, ids

MODEL = "chorus-demo"
HELLO = [{"role": "user", "content": "hello"}]


async def post(client: AsyncOpenAI, path: str, **body: Any) -> dict[str, Any]:
    answer = await client.post(path, cast_to=object, body={"model": MODEL, **body})
    assert isinstance(answer, dict)
    return answer


async def test_a_text_and_back(client: AsyncOpenAI, engine: FakeEngine) -> None:
    answer = await post(client, "/tokenize", prompt="hello ☃ world", return_token_strs=True)
    assert answer["tokens"] == ids("hello ☃ world")
    assert answer["count"] == len(answer["tokens"]) == len(answer["token_strs"])
    assert answer["max_model_len"] == engine.description.max_model_len
    assert (await post(client, "/detokenize", tokens=[*answer["tokens"], END]))["prompt"] == "hello ☃ world<|end|>"
    assert (await post(client, "/detokenize", tokens=[]))["prompt"] == ""


async def test_a_conversation_is_what_the_model_is_given(client: AsyncOpenAI, engine: FakeEngine) -> None:
    messages: Any = [{"role": "system", "content": "Be brief."}, *HELLO]
    answer = await post(client, "/tokenize", messages=messages)
    await client.chat.completions.create(model=MODEL, messages=messages)
    assert answer["tokens"] == list(engine.submits[0].prompt_token_ids)
    tool = {"type": "function", "function": {"name": "now"}}
    assert (await post(client, "/tokenize", messages=messages, tools=[tool]))["count"] > answer["count"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": "a", "messages": HELLO}, "prompt"),
        ("/tokenize", {"prompt": ["a"]}, "prompt"),
        ("/tokenize", {"messages": [{"role": "tool", "content": "x"}]}, "messages.0.tool_call_id"),
        ("/tokenize", {"prompt": "a" * 4_000_000}, "prompt"),
        ("/tokenize", {"model": "chorus-demo@nobodys", "prompt": "a"}, "model"),
        ("/detokenize", {"tokens": [10**6]}, "prompt"),
        ("/detokenize", {"tokens": "hello"}, "tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens.0"),
    ],
)
async def test_wrong_requests(client: AsyncOpenAI, path: str, body: dict[str, Any], param: str) -> None:
    with pytest.raises((openai.BadRequestError, openai.NotFoundError)) as caught:
        await post(client, path, **body)
    assert caught.value.param == param, json.dumps(caught.value.body)[:300]


async def test_a_key_is_needed(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.AuthenticationError):
        await post(client.with_options(api_key="wrong"), "/tokenize", prompt="a")
