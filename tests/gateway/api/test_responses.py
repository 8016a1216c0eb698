"""/v1/responses through the openai client, over real HTTP and real gRPC."""

import json
import math
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI
from openai.types.responses import Response

from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.gateway.support.fake_engine import FakeEngine, Reply
from tests.gateway.support.gateway import KEY
from tests.gateway.support.tokenizers import END, bundle, ids, tokenizer
from tests.gateway.support.tools import QWEN, ROME, says

WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}
MODEL = "chorus-demo"
REFUSING = "{%- if messages[0].content == 'refuse me' %}{{ raise_exception('No.') }}{%- endif %}" + QWEN
JSON: Any = {"headers": {"content-type": "application/json"}}


@pytest.fixture
async def engine() -> Any:
    replier = says("hello world")
    engine = await FakeEngine(bundle(template=REFUSING), replier=replier, max_model_len=2048).start()
    yield engine
    await engine.stop()


def prompt(engine: FakeEngine) -> str:
    text: str = tokenizer().decode(list(engine.submits[-1].prompt_token_ids), skip_special_tokens=False)
    return text


async def events(url: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient() as http:
        response = await http.post(
            f"{url}/v1/responses", json={"model": MODEL, **body, "stream": True}, headers=headers
        )
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    told = []
    for block in response.text.strip().split("\n\n"):
        name, data = block.split("\n")
        told.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {told[-1]['type']}"
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    return told


async def test_a_text(client: AsyncOpenAI, engine: FakeEngine) -> None:
    answer = await client.responses.create(
        model=MODEL, input="hello", instructions="Be brief.", metadata={"a": "b"}, max_output_tokens=9, store=True
    )
    assert (answer.output_text, answer.status, answer.to_dict()["store"]) == ("hello world", "completed", False)
    assert answer.id.startswith("resp_")
    assert (answer.instructions, answer.metadata, answer.max_output_tokens) == ("Be brief.", {"a": "b"}, 9)
    assert prompt(engine) == "<|system|>Be brief.<|end|><|user|>hello<|end|><|assistant|>"
    assert answer.usage is not None
    assert answer.usage.output_tokens == len(ids("hello world")) + 1
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


async def test_an_answer_that_is_cut_off_is_incomplete(client: AsyncOpenAI, url: str) -> None:
    answer = await client.responses.create(model=MODEL, input="hello", max_output_tokens=1)
    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert (await events(url, {"input": "hello", "max_output_tokens": 1}))[-1]["type"] == "response.incomplete"


async def test_the_events_of_a_text(url: str) -> None:
    told = await events(url, {"input": [{"role": "user", "content": [{"type": "input_text", "text": "hello"}]}]})
    deltas = [event for event in told if event["type"] == "response.output_text.delta"]
    assert "".join(event["delta"] for event in deltas) == "hello world"
    assert [event["type"] for event in told if event not in deltas] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    last = Response.model_validate(told[-1]["response"], strict=True)
    assert last.output_text == "hello world"
    assert told[0]["response"]["output"] == []
    assert told[2]["item"]["content"] == []
    assert {event["item_id"] for event in deltas} == {last.output[0].id}


async def test_a_call_and_its_result(client: AsyncOpenAI, engine: FakeEngine, url: str) -> None:
    engine.replier = says("I look.\n" + ROME)
    first = await client.responses.create(model=MODEL, input="How warm is Rome?", tools=[WEATHER])
    text, call = first.output
    assert (text.type, call.type) == ("message", "function_call")
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments), call.status) == ("get_weather", {"city": "Rome"}, "completed")
    assert '"name": "get_weather"' in prompt(engine)
    engine.replier = says("31 °C")
    items: list[Any] = [
        {"role": "user", "content": "How warm is Rome?"},
        *(item.model_dump(exclude_none=True) for item in first.output),
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "function_call_output", "call_id": call.call_id, "output": "31"},
    ]
    second = await client.responses.create(model=MODEL, input=items, tools=[WEATHER])
    assert second.output_text == "31 °C"
    assert prompt(engine).endswith(f"<|assistant|>I look.{ROME}<|end|><|user|>31<|end|><|assistant|>")


async def test_the_events_of_a_call(url: str, client: AsyncOpenAI, engine: FakeEngine) -> None:
    engine.replier = says(ROME)
    told = await events(url, {"input": "Rome?", "tools": [WEATHER]})
    kinds = [event["type"] for event in told]
    assert told[kinds.index("response.function_call_arguments.delta")]["delta"] == "{"
    done = told[kinds.index("response.function_call_arguments.done")]
    assert (done["name"], done["arguments"]) == ("get_weather", '{"city": "Rome"}')
    assert "response.output_text.delta" not in kinds
    assert told[-1]["response"]["output"][0]["arguments"] == done["arguments"]
    async with client.responses.stream(model=MODEL, input="Rome?", tools=[WEATHER]) as stream:
        final = await stream.get_final_response()
    assert [item.type for item in final.output] == ["function_call"]


async def test_what_the_answer_must_be(client: AsyncOpenAI, engine: FakeEngine) -> None:
    schema: dict[str, object] = {"type": "object", "properties": {"a": {"type": "integer"}}}
    engine.replier = says('{"a": 1}')
    answer = await client.responses.create(
        model=MODEL, input="x", text={"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True}}
    )
    assert json.loads(engine.submits[-1].sampling.constraint.json_schema) == schema
    assert answer.text is not None
    assert answer.text.format is not None
    assert answer.text.format.type == "json_schema"
    await client.responses.create(model=MODEL, input="x", text={"format": {"type": "json_object"}})
    assert engine.submits[-1].sampling.constraint.json_object
    with pytest.raises(openai.BadRequestError, match=r"text\.format\.schema"):
        await client.responses.create(model=MODEL, input="x", extra_body={"text": {"format": {"type": "json_schema"}}})
    await client.responses.create(
        model=MODEL, input="x", tools=[WEATHER], tool_choice={"type": "function", "name": "get_weather"}
    )
    assert engine.submits[-1].sampling.constraint.lark.startswith("start: calls")


async def test_log_probabilities(client: AsyncOpenAI) -> None:
    answer = await client.responses.create(
        model=MODEL, input="hello", include=["message.output_text.logprobs"], top_logprobs=2
    )
    [message] = answer.output
    assert message.type == "message"
    [part] = message.content
    assert part.type == "output_text"
    assert "".join(entry.token for entry in part.logprobs or ()) == "hello world"
    assert all(len(entry.top_logprobs) == 2 for entry in part.logprobs or ())


async def test_log_probabilities_are_those_of_texts(url: str, engine: FakeEngine) -> None:
    engine.replier = says(f"I look.\n{ROME}\nDone.")
    body = {"input": "Rome?", "tools": [WEATHER], "include": ["message.output_text.logprobs"]}
    told = await events(url, body)
    assert told[-1]["type"] == "response.completed", told[-1]
    output = told[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["message", "function_call", "message"]
    assert "".join(entry["token"] for entry in output[0]["content"][0]["logprobs"]) == "I look."
    assert output[1]["arguments"] == '{"city": "Rome"}'


@pytest.mark.parametrize("together", [1, 200])
async def test_items_come_in_the_order_in_which_they_were_written(
    url: str, client: AsyncOpenAI, engine: FakeEngine, together: int
) -> None:
    written = [*ids(f"I look.\n{ROME}\nAnd again.\n{ROME}\nDone."), END]
    engine.replier = lambda submit: Reply(written, together=together)
    expected = ["I look.", '{"city": "Rome"}', "And again.", '{"city": "Rome"}', "Done."]
    whole = await client.responses.create(model=MODEL, input="Rome?", tools=[WEATHER])
    told = (await events(url, {"input": "Rome?", "tools": [WEATHER]}))[-1]["response"]
    answers: Any = (whole.to_dict()["output"], told["output"])
    for output in answers:
        said = [item["arguments"] if "arguments" in item else item["content"][0]["text"] for item in output]
        assert said == expected


async def test_an_error_in_the_middle(url: str, engine: FakeEngine) -> None:
    error = pb.Error(code=pb.ERROR_CODE_INTERNAL, message="the device is gone")
    engine.replier = lambda submit: Reply(ids("hello"), error=error)
    *_, failed, last = await events(url, {"input": "hello"})
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert (last["type"], last["message"]) == ("error", "the device is gone")


async def test_wrong_requests(client: AsyncOpenAI, engine: FakeEngine) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"input": []}, "input"),
        ({"input": 3}, "input"),
        ({"input": [{"type": "reasoning", "id": "rs_1", "summary": []}], "tools": [WEATHER]}, "input"),
        ({"text": {"format": {"type": "json_object"}}, "guided_regex": "a"}, "guided_regex"),
        ({"input": "\ud800"}, "input"),
        ({"input": [{"role": "wizard", "content": "x"}]}, "input.0.role"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input.0.content"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input.0.type"),
        ({"input": [{"type": "function_call_output", "call_id": "x", "output": "y"}]}, "input.0.call_id"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"truncation": "auto"}, "truncation"),
        ({"reasoning": {"effort": "high"}}, "reasoning"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"n": 2}, "n"),
        ({"input": "refuse me"}, "input"),
        ({"metadata": {"a": math.nan}}, "metadata.a"),
        ({"metadata": {"a": "\ud800"}}, "metadata.a"),
        ({"text": {"format": {"type": "json_schema", "name": "n", "schema": {"a": math.inf}}}}, "text.format.schema"),
        ({"max_output_tokens": 5000}, "max_output_tokens"),
    ]
    for fields, param in wrong:
        content = json.dumps({"model": MODEL, "input": "hello", **fields}).encode()
        with pytest.raises(openai.BadRequestError) as caught:
            await client.post("/responses", cast_to=object, content=content, options=JSON)
        assert caught.value.param == param, fields
    assert engine.submits == []
