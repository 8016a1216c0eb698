"""Wrong requests: a status, a sentence and the field at fault; nothing reaches the engine."""

import json
import math
import re
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from chorus_gateway.text.tokenizer import ModelTokenizer
from chorus_gateway.values import Limits, Principal, Scope, Tenant
from tests.gateway.support.fake_engine import FakeEngine
from tests.gateway.support.gateway import KEY, Gateway

HELLO = [{"role": "user", "content": "hello"}]
TOOL = {"type": "function", "function": {"name": "now"}}


def tool_with(**parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "now", "parameters": parameters}}


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"items": value}
    return value


CALL = {"id": "call_1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
CHAT: list[tuple[dict[str, Any], str, str]] = [
    ({"messages": []}, "messages", "at least 1"),
    ({"messages": None}, "messages", "list"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.0.role", "wizard"),
    ({"messages": [{"role": "user"}]}, "messages.0.content", "must be a string"),
    ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content", "must be a string"),
    (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}]},
        "messages.0.content",
        "part 1 has type 'image_url'",
    ),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.tool_call_id", "must name a call"),
    ({"messages": [{"role": "function", "content": "x"}]}, "messages.0", "older form"),
    ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages.0.tool_calls.0.id", "required"),
    ({"messages": [{"role": "user", "content": "x", "tool_calls": [CALL]}]}, "messages.0", "assistant's"),
    ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages.0.content", "unicode"),
    ({"model": 5}, "model", "string"),
    ({"temperature": 2.5}, "temperature", "less than or equal to 2"),
    ({"temperature": "hot"}, "temperature", "number"),
    ({"top_p": -0.1}, "top_p", "greater than or equal to 0"),
    ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
    ({"max_tokens": True}, "max_tokens", "integer"),
    ({"max_completion_tokens": 1.5}, "max_completion_tokens", "integer"),
    ({"n": 129}, "n", "128"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "at most 4"),
    ({"stop": [""]}, "stop", "1 to 1024"),
    ({"stop": 7}, "stop", "must be a string"),
    ({"logit_bias": {"x": 1}}, "logit_bias", "'x' is not a token id"),
    ({"logit_bias": {"1": 101}}, "logit_bias", "-100 to 100"),
    ({"top_logprobs": 3}, "top_logprobs", "only allowed when logprobs is true"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "20"),
    ({"speculation": 17}, "speculation", "from 0 to 16"),
    ({"speculation": -1}, "speculation", "from 0 to 16"),
    ({"speculation": True}, "speculation", "'off', 'auto' or"),
    ({"speculation": "on"}, "speculation", "'off', 'auto' or"),
    ({"service_tier": "gold"}, "service_tier", "'flex'"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "stream is true"),
    ({"min_tokens": 9, "max_tokens": 8}, "min_tokens", "9 .* 8"),
    ({"tools": [{"type": "function"}]}, "tools.0.function", "required"),
    ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools.0.type", "'function'"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name", "match"),
    ({"tools": [tool_with(a="\ud800")]}, "tools.0.function.parameters", "half of a surrogate pair"),
    ({"tools": [tool_with(a=math.nan)]}, "tools.0.function.parameters", "JSON does not have"),
    ({"tools": [tool_with(type="array")]}, "tools.0.function.parameters", 'of an object, and its type is "array"'),
    ({"tools": [tool_with(a=nested(200))]}, "tools.0.function.parameters", "at most 128 levels"),
    ({"tools": [TOOL], "tool_choice": "required", "guided_regex": "a"}, "guided_regex", "only be held to JSON"),
    ({"guided_json": {"const": math.inf}}, "guided_json", "JSON does not have"),
    ({"tools": [TOOL], "guided_json": "[" * 100_000}, "guided_json", "nested too deeply"),
    (
        {"messages": [{"role": "user", "content": "x", "name": "n" * 257}]},
        "messages.0.name",
        "256 characters and has 257",
    ),
    ({"tools": [TOOL, TOOL]}, "tools", "'now' is there twice"),
    ({"tools": [TOOL] * 129}, "tools", "at most 128"),
    ({"tool_choice": "required"}, "tool_choice", "only allowed with tools"),
    ({"tools": [TOOL], "tool_choice": "must"}, "tool_choice", "must be 'none'"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "then"}}}, "tool_choice", "'then'"),
    ({"tools": [TOOL], "parallel_tool_calls": "no"}, "parallel_tool_calls", "boolean"),
    ({"functions": [{"name": "now"}]}, "functions", "not supported"),
    ({"modalities": ["text", "audio"]}, "modalities", "not supported"),
    ({"audio": {"voice": "x"}}, "audio", "not supported"),
]
COMPLETIONS: list[tuple[dict[str, Any], str, str]] = [
    ({"prompt": ""}, "prompt", "no tokens"),
    ({"prompt": []}, "prompt", "not empty"),
    ({"prompt": [1, "a"]}, "prompt", "prompt 0"),
    ({"prompt": [-1]}, "prompt", "prompt 0"),
    ({"prompt": None}, "prompt", "must be a string"),
    ({"suffix": "end"}, "suffix", "not supported"),
    ({"best_of": 2, "n": 3}, "best_of", "2 is below n, which is 3"),
    ({"best_of": 2, "stream": True}, "best_of", "with stream"),
    ({"best_of": 2, "echo": True}, "best_of", "with echo"),
    ({"best_of": 65, "prompt": ["a", "b"]}, "n", "130 choices"),
    ({"logprobs": 21}, "logprobs", "20"),
    ({"n": 65, "prompt": ["a", "b"]}, "n", "130 choices"),
]


async def post(gateway: Gateway, path: str, content: bytes) -> httpx.Response:
    transport = httpx.ASGITransport(gateway.app)
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        return await http.post(path, headers=headers, content=content)


async def refused(gateway: Gateway, engine: FakeEngine, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = await post(gateway, path, json.dumps(body).encode())
    assert response.status_code == 400, response.text
    assert engine.submits == []
    error: dict[str, Any] = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    return error


async def test_wrong_chats(gateway: Gateway, engine: FakeEngine) -> None:
    for fields, param, message in CHAT:
        body = {"model": "chorus-demo", "messages": HELLO} | fields
        error = await refused(gateway, engine, "/v1/chat/completions", body)
        assert error["param"] == param, (fields, error)
        assert re.search(message, error["message"]), (fields, error)


async def test_wrong_completions(gateway: Gateway, engine: FakeEngine) -> None:
    for fields, param, message in COMPLETIONS:
        body = {"model": "chorus-demo", "prompt": "hello"} | fields
        error = await refused(gateway, engine, "/v1/completions", body)
        assert error["param"] == param, (fields, error)
        assert re.search(message, error["message"]), (fields, error)


async def test_fields_that_ask_for_nothing_are_no_mistake(client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="chorus-demo",
        messages=[{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
        n=1,
        tools=[],
        tool_choice="none",
        response_format={"type": "text"},
        modalities=["text"],
        user="someone",
        metadata={"a": "b"},
        store=False,
        stop=None,
        logit_bias=None,
    )
    assert answer.choices[0].message.content == "hello world"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"model": "\xff"}', b"[]", b'"text"', b'{"model": "chorus-demo"}', b'{"temperature": NaN}'],
)
async def test_bodies_that_are_no_request(gateway: Gateway, path: str, content: bytes) -> None:
    response = await post(gateway, path, content)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["type"] == "invalid_request_error"


async def test_a_prompt_longer_than_the_context(client: AsyncOpenAI, engine: FakeEngine) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.completions.create(model="chorus-demo", prompt=[5] * 600)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "prompt")
    assert "512 tokens" in caught.value.message
    assert "600 tokens" in caught.value.message
    assert engine.submits == []


async def test_a_hopelessly_long_text_is_refused_before_it_is_cut_into_tokens(
    client: AsyncOpenAI, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(ModelTokenizer, "encode_all")
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(
            model="chorus-demo", messages=[{"role": "user", "content": "a" * 4_000_000}]
        )
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
    assert re.search(r"512 tokens, but the prompt has at least \d{4,} tokens", caught.value.message)
    assert engine.submits == []


async def test_more_output_than_the_context_leaves(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.completions.create(model="chorus-demo", prompt=[5] * 500, max_tokens=13)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "max_tokens")
    assert "at most 12" in caught.value.message


async def test_an_unknown_model(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="'chorus-demo@nobodys' does not exist") as caught:
        await client.completions.create(model="chorus-demo@nobodys", prompt="hello")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


async def test_an_unknown_key(url: str, engine: FakeEngine) -> None:
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError):
            await client.completions.create(model="chorus-demo", prompt="hello", stream=True)
    assert engine.submits == []


async def test_a_key_without_a_tenant(client: AsyncOpenAI, gateway: Gateway) -> None:
    gateway.keys.principals[KEY] = Principal("root", frozenset({Scope.ADMIN, Scope.INFER}))
    with pytest.raises(openai.PermissionDeniedError, match="belongs to no tenant"):
        await client.completions.create(model="chorus-demo", prompt="hello")


async def test_a_limit_that_is_reached(client: AsyncOpenAI, gateway: Gateway) -> None:
    tenant = Tenant("acme", Limits(requests_per_minute=1))
    gateway.keys.principals[KEY] = Principal("k1", frozenset({Scope.INFER}), tenant)
    await client.completions.create(model="chorus-demo", prompt="hello")
    for stream in (False, True):
        with pytest.raises(openai.RateLimitError) as caught:
            await client.completions.create(model="chorus-demo", prompt="hello", stream=stream)
        assert int(caught.value.response.headers["retry-after"]) >= 1
