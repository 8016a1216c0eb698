"""Answers that must be JSON, through the whole system and the openai client."""

import json
import re

import openai
import pytest

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack")]
MODEL = "chorus-demo@extract"
PROMPT = "Turn this into JSON: Brinda bought 12 apples in Velsh."
PURCHASE: dict[str, object] = {
    "type": "object",
    "properties": {"item": {"type": "string", "maxLength": 12}, "count": {"type": "integer", "maximum": 99}},
    "required": ["item", "count"],
    "additionalProperties": False,
}


def test_a_schema_binds_every_answer(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": PROMPT}],
        n=4,
        seed=1,
        max_tokens=120,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "purchase", "schema": PURCHASE, "strict": True},
        },
    )
    for choice in completion.choices:
        assert choice.finish_reason == "stop"
        found = json.loads(choice.message.content or "")
        assert set(found) == {"item", "count"}
        assert isinstance(found["count"], int)


def test_an_expression_binds_a_stream(client: openai.OpenAI) -> None:
    stream = client.completions.create(
        model=MODEL, prompt="The number is", stream=True, extra_body={"guided_regex": "[0-9]{3}-[a-f]{2}"}
    )
    chunks = list(stream)
    assert re.fullmatch("[0-9]{3}-[a-f]{2}", "".join(chunk.choices[0].text for chunk in chunks))
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_schema_that_cannot_be_compiled_is_refused_with_its_place(client: openai.OpenAI) -> None:
    broken: dict[str, object] = {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=x)"}}}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": PROMPT}],
            response_format={"type": "json_schema", "json_schema": {"name": "broken", "schema": broken}},
        )
    assert caught.value.param == "response_format.json_schema.schema"
    assert "#/properties/a" in caught.value.message
