"""Tools through the whole system and the openai client: the demo's model was taught none, and calls when it must."""

import json
from typing import Any

import openai
import pytest

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack")]
MODEL = "chorus-demo@extract"
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "item": {"type": "string", "enum": ["apples", "pears"]},
        "count": {"type": "integer", "maximum": 99},
    },
    "required": ["item", "count"],
    "additionalProperties": False,
}
BUY: Any = {"type": "function", "function": {"name": "buy", "parameters": PARAMETERS}}
SELL: Any = {"type": "function", "function": {"name": "sell", "parameters": PARAMETERS}}
ASK: list[Any] = [{"role": "user", "content": "Brinda bought 12 apples in Velsh."}]


def check(arguments: str) -> None:
    found = json.loads(arguments)
    assert found["item"] in ("apples", "pears")
    assert isinstance(found["count"], int)


def test_a_required_call_and_its_result(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(
        model=MODEL, messages=ASK, tools=[BUY, SELL], tool_choice="required", parallel_tool_calls=False, n=3, seed=1
    )
    for choice in completion.choices:
        assert choice.finish_reason == "tool_calls"
        [call] = choice.message.tool_calls or []
        assert call.type == "function"
        assert call.function.name in ("buy", "sell")
        check(call.function.arguments)
    message = completion.choices[0].message
    assert message.tool_calls is not None
    result: Any = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "done"}
    messages = [*ASK, message.model_dump(exclude_none=True), result]
    after = client.chat.completions.create(model=MODEL, messages=messages, tools=[BUY, SELL], max_tokens=8)
    assert after.choices[0].finish_reason in ("stop", "length", "tool_calls")


def test_a_named_call_in_a_stream(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model=MODEL, messages=ASK, tools=[BUY, SELL], tool_choice={"type": "function", "function": {"name": "sell"}}
    ) as stream:
        message = stream.get_final_completion().choices[0].message
    assert message.tool_calls
    assert {call.function.name for call in message.tool_calls} == {"sell"}
    check(message.tool_calls[0].function.arguments)


def test_a_strict_tool_leaves_the_model_its_words(client: openai.OpenAI) -> None:
    strict: Any = {"type": "function", "function": {**BUY["function"], "strict": True}}
    completion = client.chat.completions.create(model=MODEL, messages=ASK, tools=[strict], max_tokens=40)
    choice = completion.choices[0]
    assert choice.message.content or choice.message.tool_calls
    for call in choice.message.tool_calls or () if choice.finish_reason == "tool_calls" else ():
        assert call.type == "function"
        check(call.function.arguments)


def test_a_response_that_calls(client: openai.OpenAI) -> None:
    tool: Any = {"type": "function", **BUY["function"], "strict": True}
    with client.responses.stream(model=MODEL, input=ASK, tools=[tool], tool_choice="required") as stream:
        response = stream.get_final_response()
    calls = [item for item in response.output if item.type == "function_call"]
    assert calls
    check(calls[0].arguments)


def test_a_schema_that_cannot_be_compiled(client: openai.OpenAI) -> None:
    broken = {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=x)"}}}
    tool: Any = {"type": "function", "function": {"name": "broken", "parameters": broken}}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=ASK, tools=[tool], tool_choice="required")
    assert caught.value.param == "tools"
