"""What the OpenAPI page says of streams is what is sent."""

import json
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from openai import AsyncOpenAI

from tests.gateway.support.fake_engine import FakeEngine
from tests.gateway.support.gateway import KEY

CHAT = {"messages": [{"role": "user", "content": "hello"}], "logprobs": True, "top_logprobs": 2}
TEXT = {"prompt": "hello", "logprobs": 2}
STREAM = {"model": "chorus-demo", "stream": True, "stream_options": {"include_usage": True}}


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/chat/completions", CHAT), ("/v1/completions", TEXT), ("/v1/responses", {"input": "hello"})],
)
async def test_each_event_is_as_described(url: str, path: str, body: dict[str, Any]) -> None:
    async with httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {KEY}"}) as http:
        page = (await http.get("/openapi.json")).json()
        answer = await http.post(path, json=STREAM | body)
    content = page["paths"][path]["post"]["responses"]["200"]["content"]["text/event-stream"]
    _, carried = content["schema"]["properties"]["data"]["anyOf"]
    check = Draft202012Validator({**carried["contentSchema"], "components": page["components"]})
    lines = [line for line in answer.text.splitlines() if line.startswith("data: {")]
    assert len(lines) > 2
    for line in lines:
        check.validate(json.loads(line.removeprefix("data: ")))
    with pytest.raises(Exception, match="is not valid"):
        check.validate({"object": "chat.completion.chunk"})


async def test_a_top_p_of_zero_leaves_the_likeliest_token(client: AsyncOpenAI, engine: FakeEngine) -> None:
    await client.completions.create(model="chorus-demo", prompt="hello", top_p=0)
    assert 0 < engine.submits[0].sampling.top_p < 1e-5


async def test_logprobs_of_no_others_have_no_top(url: str) -> None:
    body = {"model": "chorus-demo", "prompt": "hello", "logprobs": 0}
    async with httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {KEY}"}) as http:
        choice = (await http.post("/v1/completions", json=body)).json()["choices"][0]
    assert choice["logprobs"]["token_logprobs"]
    assert "top_logprobs" not in choice["logprobs"]
