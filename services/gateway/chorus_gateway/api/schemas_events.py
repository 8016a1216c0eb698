"""The events of streams, for the OpenAPI page: what each carries as JSON. They are written without these."""

from typing import Any

Schema = dict[str, Any]


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


def _named(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "integer"}
_CALLED: Schema = {
    "type": "object",
    "required": ["index", "function"],
    "properties": {
        "index": _NUMBER,
        "id": _TEXT,
        "type": {"const": "function"},
        "function": {
            "type": "object",
            "required": ["arguments"],
            "properties": {"name": _TEXT, "arguments": _TEXT},
        },
    },
}
_DELTA: Schema = {
    "type": "object",
    "properties": {
        "role": {"const": "assistant"},
        "content": _TEXT,
        "refusal": {"type": "null"},
        "tool_calls": {"type": "array", "items": _CALLED},
    },
    "additionalProperties": False,
}


def _chunk(kind: str, choice: Schema) -> Schema:
    head = dict.fromkeys(("id", "model", "service_tier", "system_fingerprint"), _TEXT)
    chunk = _object(**head, object={"const": kind}, created=_NUMBER, choices={"type": "array", "items": choice})
    usage = {"description": "with `include_usage`: null but in the last event", **_or_null(_named("UsageView"))}
    return {**chunk, "properties": {**chunk["properties"], "usage": usage}, "additionalProperties": False}


CHAT_EVENT = _chunk(
    "chat.completion.chunk",
    _object(
        index=_NUMBER,
        delta=_DELTA,
        logprobs=_or_null(_named("ChatLogprobs")),
        finish_reason={"enum": ["stop", "length", "tool_calls", None], "description": "null until the choice's last"},
    ),
)
COMPLETION_EVENT = _chunk(
    "text_completion",
    _object(
        index=_NUMBER,
        text=_TEXT,
        logprobs=_or_null(_named("CompletionLogprobs")),
        finish_reason={"enum": ["stop", "length", None], "description": "null until the choice's last"},
    ),
)
RESPONSE_EVENT = {
    **_object(type={"type": "string", "examples": ["response.output_text.delta"]}, sequence_number=_NUMBER),
    "description": "`response.completed`, or `response.incomplete`, the last one, has the `response` whole",
}


def stream_of(event: Schema) -> Schema:
    """A stream's events, each with such an object, or with an error in the middle."""
    carried: Schema = {"type": "string", "contentMediaType": "application/json"}
    carried["contentSchema"] = {"anyOf": [event, _named("ErrorBody")]}
    return _object(data={"anyOf": [{"const": "[DONE]"}, carried]})
