"""Answers that were searched for by beams."""

import asyncio
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.gateway.support.fake_engine import FakeEngine, Reply
from tests.gateway.support.gateway import KEY, Gateway, eventually
from tests.gateway.support.tokenizers import END, ids

SAYS: list[Any] = [{"role": "user", "content": "hello"}]
FORM = {"type": "json_object"}
TOOL: Any = {"type": "function", "function": {"name": "buy"}}


async def test_the_first_n_are_told_and_all_are_one_submission(client: AsyncOpenAI, engine: FakeEngine) -> None:
    words = ids("the garden was late again")
    engine.replier = lambda submit: Reply([*words, END])
    answer = await client.completions.create(
        model="chorus-demo",
        prompt=["hello", "hello world"],
        n=2,
        best_of=3,
        max_tokens=60,
        logprobs=1,
        extra_body={"use_beam_search": True, "length_penalty": 0.5, "early_stopping": "never"},
    )
    whole, later = answer.choices[0].text, answer.choices[1].text
    assert len(later) < len(whole)
    assert whole.endswith(later)
    assert [choice.text for choice in answer.choices] == [whole, later, whole, later]
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert {choice.finish_reason for choice in answer.choices} == {"stop"}
    assert answer.choices[0].logprobs is not None
    assert answer.choices[0].logprobs.token_logprobs == [-0.5] * len(words)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 2 * (3 * (len(words) + 1) - 3), "what was searched for is paid for"
    assert answer.usage.prompt_tokens == len(ids("hello")) + len(ids("hello world"))
    assert [submit.beam_search for submit in engine.submits] == [
        pb.BeamSearch(width=3, length_penalty=0.5, early_stopping=pb.EARLY_STOPPING_NEVER)
    ] * 2


async def test_a_conversation_and_a_stop(client: AsyncOpenAI, engine: FakeEngine) -> None:
    engine.replier = lambda submit: Reply([*ids("hello world"), END])
    answer = await client.chat.completions.create(
        model="chorus-demo", messages=SAYS, stop="wor", n=2, extra_body={"use_beam_search": True}
    )
    assert answer.choices[0].message.content == "hello "
    assert answer.choices[0].finish_reason == "stop"
    assert len(answer.choices) == 2
    alone = await client.chat.completions.create(
        model="chorus-demo", messages=SAYS, extra_body={"use_beam_search": True}
    )
    assert [choice.message.content for choice in alone.choices] == ["hello world"]
    submit, single = engine.submits
    assert single.beam_search.width == 1
    assert submit.beam_search.width == 2
    assert submit.beam_search.length_penalty == 1
    assert submit.sampling.max_tokens * 2 <= 16_384


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"stream": True}, "stream"),
    ({"n": 3, "best_of": 2}, "best_of"),
    ({"best_of": 33}, "best_of"),
    ({"n": 33}, "n"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"echo": True}, "echo"),
    ({"presence_penalty": 0.5}, "presence_penalty"),
    ({"repetition_penalty": 1.1}, "repetition_penalty"),
    ({"logit_bias": {"5": 1}}, "logit_bias"),
    ({"response_format": FORM}, "response_format"),
    ({"length_penalty": 11}, "length_penalty"),
    ({"early_stopping": "sometimes"}, "early_stopping"),
    ({"use_beam_search": "yes"}, "use_beam_search"),
]


async def test_what_cannot_be_searched_for_is_refused(url: str, engine: FakeEngine) -> None:
    body = {"model": "chorus-demo", "prompt": "hello", "max_tokens": 4, "use_beam_search": True}
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {KEY}"}) as http:
        for fields, param in REFUSED:
            answer = await http.post(f"{url}/v1/completions", json={**body, **fields})
            assert answer.status_code == 400, answer.text
            assert answer.json()["error"]["param"] == param
    assert engine.submits == []


async def test_too_many_tokens_and_demanded_tools(client: AsyncOpenAI, engine: FakeEngine) -> None:
    search: dict[str, Any] = {"use_beam_search": True, "best_of": 32}
    with pytest.raises(openai.BadRequestError) as many:
        await client.chat.completions.create(model="chorus-demo", messages=SAYS, max_tokens=513, extra_body=search)
    assert many.value.param == "max_tokens"
    with pytest.raises(openai.BadRequestError) as called:
        await client.chat.completions.create(
            model="chorus-demo", messages=SAYS, tools=[TOOL], tool_choice="required", extra_body=search
        )
    assert called.value.param == "tools"
    with pytest.raises(openai.BadRequestError) as response:
        await client.responses.create(model="chorus-demo", input="hello", extra_body=search)
    assert response.value.param == "use_beam_search"
    assert engine.submits == []


async def test_who_goes_away_ends_the_search(url: str, gateway: Gateway, engine: FakeEngine) -> None:
    engine.replier = lambda submit: Reply([*ids("hello"), END], hang=True)
    body = {"model": "chorus-demo", "prompt": "hello", "n": 4, "use_beam_search": True}
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {KEY}"}) as http:
        asking = asyncio.create_task(http.post(f"{url}/v1/completions", json=body))
        await eventually(lambda: engine.running == 1)
        asking.cancel()
        await eventually(lambda: not engine.running)
    assert len(engine.cancels) == 1
