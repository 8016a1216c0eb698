"""What an answer must be: how clients say it, what the engine is told, and how a bad one is answered."""

import json
import re
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI, BadRequestError

from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.gateway.support.fake_engine import FakeEngine, Reply
from tests.gateway.support.gateway import KEY, Gateway
from tests.gateway.support.tokenizers import END, ids

SCHEMA = {"type": "object", "properties": {"größe": {"type": "integer"}, "a": {"type": "null"}}}
OBJECT = {"type": "json_object"}
FORMAT = {"type": "json_schema", "json_schema": {"name": "size", "schema": SCHEMA, "strict": True}}
ASKED: list[tuple[dict[str, Any], str, Any]] = [
    ({"response_format": OBJECT}, "json_object", True),
    ({"response_format": FORMAT}, "json_schema", SCHEMA),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "any"}}}, "json_object", True),
    ({"guided_json": SCHEMA}, "json_schema", SCHEMA),
    ({"guided_json": json.dumps(SCHEMA)}, "json_schema", SCHEMA),
    ({"guided_regex": "[a-z]+"}, "regex", "[a-z]+"),
    ({"guided_choice": ["yes", "no"]}, "choice", ["yes", "no"]),
    ({"guided_grammar": "start: /a/"}, "lark", "start: /a/"),
    ({"structured_outputs": {"json": SCHEMA}}, "json_schema", SCHEMA),
    ({"structured_outputs": {"json_object": True}}, "json_object", True),
    ({"structured_outputs": {"regex": "a"}}, "regex", "a"),
    ({"structured_outputs": {"choice": ["a"]}}, "choice", ["a"]),
    ({"structured_outputs": {"grammar": "start: b"}, "guided_regex": None}, "lark", "start: b"),
    ({"structured_outputs": {}}, "", None),
    ({"response_format": {"type": "text"}}, "", None),
]
WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"response_format": {"type": "xml"}}, "response_format.type", "'json_schema'"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "required"),
    ({"response_format": {**FORMAT, "type": "text"}}, "response_format.json_schema", "only allowed"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}}},
        "response_format.json_schema.name",
        "match",
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": []}}},
        "response_format.json_schema.schema",
        "dictionary|object",
    ),
    ({"response_format": OBJECT, "guided_regex": "a"}, "guided_regex", "bound by response_format already"),
    ({"guided_regex": ""}, "guided_regex", "at least 1"),
    ({"guided_regex": "a" * 300_000}, "guided_regex", "262144"),
    ({"guided_json": {"enum": ["a" * 300_000]}}, "guided_json", "at most 262144"),
    ({"guided_json": 3}, "guided_json", "must be a JSON Schema"),
    ({"guided_choice": []}, "guided_choice", "at least 1"),
    ({"guided_choice": "yes"}, "guided_choice", "list"),
    ({"structured_outputs": {"structural_tag": "x"}}, "structured_outputs.structural_tag", "not permitted|extra"),
]


async def post(gateway: Gateway, path: str, body: dict[str, Any]) -> httpx.Response:
    transport = httpx.ASGITransport(gateway.app)
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        return await http.post(path, headers=headers, json={"model": "chorus-demo", **body})


async def test_the_engine_is_told(gateway: Gateway, engine: FakeEngine) -> None:
    prompts: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": {"messages": [{"role": "user", "content": "x"}]},
        "/v1/completions": {"prompt": "x"},
    }
    for path, prompt in prompts.items():
        for fields, kind, value in ASKED:
            response = await post(gateway, path, {**prompt, **fields})
            assert response.status_code == 200, (fields, response.text)
            assert _told(engine.submits[-1].sampling) == (kind, value)


def _told(sampling: pb.SamplingParams) -> tuple[str, Any]:
    constraint = sampling.constraint
    kind = constraint.WhichOneof("kind") or ""
    if kind == "json_schema":
        return kind, json.loads(constraint.json_schema)
    if kind == "choice":
        return kind, list(constraint.choice.texts)
    return kind, getattr(constraint, kind) if kind else None


async def test_wrong_ones_reach_no_engine(gateway: Gateway, engine: FakeEngine) -> None:
    for fields, param, message in WRONG:
        response = await post(gateway, "/v1/completions", {"prompt": "x", **fields})
        error = response.json()["error"]
        assert response.status_code == 400, (fields, error)
        assert error["param"] == param, (fields, error)
        assert re.search(message, error["message"]), (fields, error)
    assert engine.submits == []


@pytest.mark.parametrize("stream", [False, True])
async def test_an_engines_refusal_names_the_field_and_is_not_tried_again(
    client: AsyncOpenAI, engine: FakeEngine, stream: bool
) -> None:
    refusal = pb.Error(code=pb.ERROR_CODE_CONSTRAINT, message="at #/properties/a: Invalid type: foo.")
    engine.replier = lambda submit: Reply([], error=refusal)
    with pytest.raises(BadRequestError) as caught:
        await client.chat.completions.create(
            model="chorus-demo",
            messages=[{"role": "user", "content": "x"}],
            response_format=FORMAT,  # type: ignore[call-overload] # a plain dict
            stream=stream,
        )
    error = caught.value
    assert error.param == "response_format.json_schema.schema"
    assert error.code == "invalid_constraint"
    assert "#/properties/a: Invalid type" in error.message
    assert len(engine.submits) == 1


async def test_each_of_n_answers_is_bound(client: AsyncOpenAI, engine: FakeEngine) -> None:
    engine.replier = lambda submit: Reply([*ids("{}"), END])
    answer = await client.chat.completions.create(
        model="chorus-demo", messages=[{"role": "user", "content": "x"}], n=3, response_format={"type": "json_object"}
    )
    assert len(answer.choices) == 3
    assert all(submit.sampling.constraint.json_object for submit in engine.submits)
