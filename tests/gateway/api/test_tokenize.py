"""Texts to tokens and back, over real HTTP."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from chorus_gateway.values import Limits, Principal, Scope, Tenant
from tests.gateway.support.fake_engine import FakeEngine
from tests.gateway.support.gateway import KEY, Gateway
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
        ("/detokenize", {"tokens": [10**6]}, "tokens"),
        ("/detokenize", {"tokens": "hello"}, "tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens"),
        ("/detokenize", {"tokens": [True]}, "tokens"),
        ("/detokenize", {"tokens": [1] * ((1 << 20) + 1)}, "tokens"),
    ],
)
async def test_wrong_requests(client: AsyncOpenAI, path: str, body: dict[str, Any], param: str) -> None:
    with pytest.raises((openai.BadRequestError, openai.NotFoundError)) as caught:
        await post(client, path, **body)
    assert caught.value.param == param, json.dumps(caught.value.body)[:300]


async def test_long_ones_are_as_short_ones_and_leave_the_loop(
    client: AsyncOpenAI, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "☃" * 5000  # three tokens each
    aside: list[str] = []

    async def to_thread(function: Callable[..., Any], *arguments: Any) -> Any:
        aside.append(function.__name__)
        return function(*arguments)

    await post(client, "/detokenize", tokens=ids("hello"))  # the client's own threads are over

    monkeypatch.setattr(asyncio, "to_thread", to_thread)
    answer = await post(client, "/tokenize", prompt=text, return_token_strs=True)
    assert answer["tokens"] == ids(text)
    assert len(answer["token_strs"]) == answer["count"] == len(answer["tokens"]) > 8192
    assert (await post(client, "/detokenize", tokens=answer["tokens"]))["prompt"] == text
    assert aside == ["_ids_aside", "_written", "_text_aside"]
    with pytest.raises(openai.BadRequestError, match="token id 4294967295 is not one"):
        await post(client, "/detokenize", tokens=[(1 << 32) - 1] * 5000)
    await post(client, "/detokenize", tokens=ids("hello"))
    assert len(aside) == 4


async def test_they_count_as_requests_and_use_no_tokens(client: AsyncOpenAI, gateway: Gateway) -> None:
    limits = Limits(requests_per_minute=3, tokens_per_minute=100, tokens_per_day=100, budget=1)
    tenant = Tenant("acme", limits)
    for key in (KEY, "another"):
        own = Limits(requests_per_minute=2)
        gateway.keys.principals[key] = Principal(key, frozenset({Scope.INFER}), tenant, limits=own)
    other = client.with_options(api_key="another")
    text = "hello " * 500
    whole = await client.post("/tokenize", cast_to=httpx.Response, body={"model": MODEL, "prompt": text})
    assert whole.headers["x-ratelimit-limit-requests"] == "2"
    assert whole.headers["x-ratelimit-remaining-requests"] == "1"
    assert whole.headers["x-ratelimit-remaining-tokens"] == "100"
    for path, body in (("/tokenize", {}), ("/detokenize", {"tokens": "x"}), ("/tokenize", {"prompt": "a" * 999_999})):
        with pytest.raises(openai.BadRequestError):  # what is refused does not count
            await post(client, path, **body)
    await post(client, "/detokenize", tokens=ids(text))
    with pytest.raises(openai.RateLimitError, match="this key on requests per minute: limit 2") as caught:
        await post(client, "/tokenize", prompt=text)
    assert 20 < int(caught.value.response.headers["retry-after"]) <= 30
    assert caught.value.response.headers["x-ratelimit-remaining-requests"] == "0"
    await post(other, "/tokenize", prompt=text)
    with pytest.raises(openai.RateLimitError, match="tenant 'acme' on requests per minute: limit 3"):
        await post(other, "/detokenize", tokens=[])
    assert gateway.quota.settled == gateway.quota.reserved == [0, 0, 0]


async def test_a_key_is_needed(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.AuthenticationError):
        await post(client.with_options(api_key="wrong"), "/tokenize", prompt="a")
