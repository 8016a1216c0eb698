"""Tools through the openai client, over real HTTP and real gRPC: shown to the model, called, answered."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.gateway.support.fake_engine import FakeEngine, Replier, Reply
from tests.gateway.support.gateway import KEY, Gateway
from tests.gateway.support.tokenizers import END, bundle, ids, tokenizer
from tests.gateway.support.tools import QWEN, ROME, TIME, says

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
NOW: dict[str, Any] = {"type": "function", "function": {"name": "now"}}
ASK: dict[str, Any] = {
    "model": "chorus-demo",
    "messages": [{"role": "user", "content": "How warm is Rome?"}],
    "tools": [WEATHER, NOW],
}


@pytest.fixture
def template() -> str | None:
    return QWEN


@pytest.fixture
async def engine(template: str) -> AsyncIterator[FakeEngine]:
    """Calls get_weather after a word."""
    replier = says("I look.\n" + ROME)
    engine = await FakeEngine(bundle(template=template), replier=replier, max_model_len=4096).start()
    yield engine
    await engine.stop()


def _prompt(engine: FakeEngine) -> str:
    text: str = tokenizer().decode(list(engine.submits[-1].prompt_token_ids), skip_special_tokens=False)
    return text


async def test_a_call_and_its_result(client: AsyncOpenAI, engine: FakeEngine) -> None:
    answer = await client.chat.completions.create(**ASK)
    choice = answer.choices[0]
    assert (choice.message.content, choice.finish_reason) == ("I look.", "tool_calls")
    assert choice.message.tool_calls is not None
    [call] = choice.message.tool_calls
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Rome"})
    assert '"description": "The weather in a city"' in _prompt(engine)
    assert not engine.submits[0].sampling.HasField("constraint")
    engine.replier = says("It is warm.")
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "31 °C"}
    messages = [*ASK["messages"], choice.message.model_dump(exclude_none=True), result]
    answer = await client.chat.completions.create(**ASK | {"messages": messages})
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("It is warm.", "stop")
    assert answer.choices[0].message.tool_calls is None
    assert _prompt(engine).endswith(f"<|assistant|>I look.{ROME}<|end|><|user|>31 °C<|end|><|assistant|>")


async def test_several_calls_without_a_word(client: AsyncOpenAI, engine: FakeEngine) -> None:
    engine.replier = says(f"{ROME}\n{TIME}")
    message = (await client.chat.completions.create(**ASK)).choices[0].message
    assert message.content is None
    assert [call.function.name for call in message.tool_calls or () if call.type == "function"] == [
        "get_weather",
        "now",
    ]
    assert len({call.id for call in message.tool_calls or ()}) == 2


async def test_one_call_at_a_time_ends_the_answer_and_the_engines_work(
    client: AsyncOpenAI, engine: FakeEngine, gateway: Gateway
) -> None:
    engine.replier = lambda submit: Reply(ids(f"{ROME}\n{TIME}"), pause=0.0005, hang=True)
    answer = await client.chat.completions.create(**ASK, parallel_tool_calls=False)
    assert answer.choices[0].finish_reason == "tool_calls"
    assert len(answer.choices[0].message.tool_calls or ()) == 1
    await gateway.settles()
    assert len(engine.cancels) == 1
    assert answer.usage is not None
    assert answer.usage.completion_tokens < len(ids(ROME)) + 2


async def test_nothing_behind_the_one_call_is_told_or_counted(client: AsyncOpenAI, engine: FakeEngine) -> None:
    """However many tokens a step of the engine brings."""
    told, replies = set(), [Reply(ids(f"I look.\n{ROME} Is it warm? {TIME}"), together=many) for many in (1, 7, 999)]
    engine.replier = lambda submit: replies.pop()
    while replies:
        answer = await client.chat.completions.create(**ASK, parallel_tool_calls=False, logprobs=True)
        message, usage, logprobs = answer.choices[0].message, answer.usage, answer.choices[0].logprobs
        assert len(message.tool_calls or ()) == 1
        assert usage is not None
        assert logprobs is not None
        told.add((message.content, usage.completion_tokens, len(logprobs.content or ())))
    assert len(told) == 1


@pytest.mark.parametrize("together", [1, 7, 200])
async def test_nothing_follows_the_one_call_however_the_answer_is_cut(
    client: AsyncOpenAI, engine: FakeEngine, together: int
) -> None:
    written = [*ids(f"I look.\n{ROME}\nIt is warm."), END]
    engine.replier = lambda submit: Reply(written, together=together)
    answer = await client.chat.completions.create(**ASK, parallel_tool_calls=False)
    assert answer.choices[0].message.content == "I look."
    assert len(answer.choices[0].message.tool_calls or ()) == 1


def refusing(rule: str) -> Replier:
    """As engines refuse a schema in a grammar, with the lines around it."""

    def refuses(submit: pb.Submit) -> Reply:
        lines = submit.sampling.constraint.lark.splitlines()
        at = next(at for at, line in enumerate(lines, 1) if line.startswith(rule))
        message = f"at {at}(14): failed to compile JSON schema: Odd {at - 1} | {lines[at - 2]} {at} | {lines[at - 1]}."
        return Reply([], error=pb.Error(code=pb.ERROR_CODE_CONSTRAINT, message=message))

    return refuses


async def test_what_cannot_be_compiled_names_its_tool(client: AsyncOpenAI, engine: FakeEngine) -> None:
    """Of the gateway's own grammar the client is told nothing."""

    answer_in = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"enum": []}}}
    asked: list[tuple[str, dict[str, Any], str, str]] = [
        ("arguments_1", {"tool_choice": "required"}, "tools", "tools: the parameters of 'now'"),
        ("answer", {"response_format": answer_in}, "response_format.json_schema.schema", "response_format.json_schema"),
    ]
    for rule, fields, param, words in asked:
        engine.replier = refusing(rule)
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(**ASK, **fields)
        assert caught.value.param == param
        assert words in caught.value.message
        assert "failed to compile JSON schema: Odd." in caught.value.message


async def test_a_streamed_call(url: str, engine: FakeEngine) -> None:
    body = ASK | {"stream": True, "stream_options": {"include_usage": True}}
    async with httpx.AsyncClient() as http:
        response = await http.post(f"{url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {KEY}"})
    events = response.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    choices = [chunk["choices"][0] for chunk in chunks[:-1]]
    assert choices[0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert "".join(choice["delta"].get("content", "") for choice in choices) == "I look."
    calls = [call for choice in choices for call in choice["delta"].get("tool_calls", ())]
    assert {call["index"] for call in calls} == {0}
    assert calls[0]["type"] == "function"
    assert calls[0]["id"].startswith("call_")
    assert [call["function"]["name"] for call in calls if "name" in call["function"]] == ["get_weather"]
    assert "".join(call["function"]["arguments"] for call in calls) == '{"city": "Rome"}'
    assert len(calls) > 3  # as they are written, and not at their end
    assert (choices[-1]["delta"], choices[-1]["finish_reason"]) == ({}, "tool_calls")


async def test_the_openai_client_gathers_a_streamed_call(client: AsyncOpenAI, engine: FakeEngine) -> None:
    engine.replier = says(f"{TIME}\n{ROME}")
    async with client.chat.completions.stream(**ASK) as stream:
        completion = await stream.get_final_completion()
    message = completion.choices[0].message
    assert [(call.function.name, call.function.arguments) for call in message.tool_calls or ()] == [
        ("now", "{}"),
        ("get_weather", '{"city": "Rome"}'),
    ]


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("required", ["get_weather", "now"]),
        ({"type": "function", "function": {"name": "now"}}, ["now"]),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [NOW]}},
            ["now"],
        ),
    ],
)
async def test_a_required_call_is_a_constraint(
    client: AsyncOpenAI, engine: FakeEngine, choice: Any, names: list[str]
) -> None:
    engine.replier = says(TIME)
    answer = await client.chat.completions.create(**ASK, tool_choice=choice)
    assert answer.choices[0].finish_reason == "tool_calls"
    grammar = engine.submits[0].sampling.constraint.lark
    assert grammar.startswith("start: calls\n")
    assert [name for name in ("get_weather", "now") if f'\\"name\\": \\"{name}\\"' in grammar] == names


async def test_strict_tools_hold_the_calls_to_their_schema(client: AsyncOpenAI, engine: FakeEngine) -> None:
    strict = {"type": "function", "function": {**WEATHER["function"], "strict": True}}
    await client.chat.completions.create(**ASK | {"tools": [strict, NOW]})
    grammar = engine.submits[0].sampling.constraint.lark
    assert 'opened[lazy]: TEXT "<tool_call>"' in grammar
    assert '"city"' in grammar


async def test_a_choice_of_none_hides_the_tools(client: AsyncOpenAI, engine: FakeEngine) -> None:
    answer = await client.chat.completions.create(**ASK, tool_choice="none")
    assert "get_weather" not in _prompt(engine)
    assert answer.choices[0].message.content == "I look.\n" + ROME
    assert answer.choices[0].finish_reason == "stop"


async def test_an_answer_that_is_cut_off(client: AsyncOpenAI, engine: FakeEngine) -> None:
    length = len(ids("I look.\n" + ROME)) - 20
    answer = await client.chat.completions.create(**ASK, max_tokens=length)
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.tool_calls is not None
    assert '{"city": "Rome"}'.startswith(answer.choices[0].message.tool_calls[0].function.arguments)


async def test_log_probabilities_of_calls(client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(**ASK, logprobs=True)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert b"".join(bytes(entry.bytes or []) for entry in logprobs.content or ()).decode() == "I look.\n" + ROME


class TestWithoutAPlaceForTools:
    """A template that knows of no tools is told of them in plain words."""

    @pytest.fixture
    def template(self) -> str | None:
        return (
            "{%- for message in messages %}{%- if message.role not in ['system', 'user', 'assistant'] %}"
            "{{ raise_exception('Unknown role ' + message.role) }}{%- endif %}"
            "<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{%- endfor %}<|assistant|>"
        )

    async def test_tools_calls_and_results(self, client: AsyncOpenAI, engine: FakeEngine) -> None:
        answer = await client.chat.completions.create(**ASK)
        message = answer.choices[0].message
        assert [call.function.name for call in message.tool_calls or () if call.type == "function"] == ["get_weather"]
        assert _prompt(engine).startswith("<|system|># Tools\n")
        assert '"name": "get_weather"' in _prompt(engine)
        messages: list[Any] = [
            {"role": "system", "content": "Be brief."},
            *ASK["messages"],
            message.model_dump(exclude_none=True),
            *({"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": text} for text in ("31", "°C")),
        ]
        await client.chat.completions.create(**ASK | {"messages": messages})
        prompt = _prompt(engine)
        assert prompt.startswith("<|system|>Be brief.\n\n# Tools\n")
        results = "<tool_response>\n31\n</tool_response>\n<tool_response>\n°C\n</tool_response>"
        assert prompt.endswith(f"<|assistant|>I look.\n{ROME}<|end|><|user|>{results}<|end|><|assistant|>")


async def test_arguments_that_are_no_text_are_shown_as_they_came(client: AsyncOpenAI, engine: FakeEngine) -> None:
    calls = [
        {"id": f"call_{at}", "type": "function", "function": {"name": "now", "arguments": arguments}}
        for at, arguments in enumerate(['{"a": "\\ud800"}', '{"a": 1e999}', '{"a": ', ""])
    ]
    await client.chat.completions.create(
        **ASK | {"messages": [*ASK["messages"], {"role": "assistant", "tool_calls": calls}]}
    )
    assert [part.split("\n")[1] for part in _prompt(engine).split("<tool_call>")[1:]] == [
        '{"name": "now", "arguments": "{\\"a\\": \\"\\\\ud800\\"}"}',
        '{"name": "now", "arguments": "{\\"a\\": 1e999}"}',
        '{"name": "now", "arguments": "{\\"a\\": "}',
        '{"name": "now", "arguments": {}}',
    ]


async def test_a_template_that_refuses_is_a_mistake_of_the_messages(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(
            **ASK | {"messages": [{"role": "tool", "tool_call_id": "call_9", "content": "x"}]}
        )
    assert caught.value.param == "messages.0.tool_call_id"
