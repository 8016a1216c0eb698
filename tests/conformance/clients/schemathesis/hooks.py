"""What schemathesis is told of the stack that it asks, so that much of what it sends finds something and is soon
answered. What is wrong it makes of these descriptions all the same.

CHORUS_CONFORMANCE is JSON: `path` and `fields` have values by the name of a parameter or of a body's field,
`examples` bodies by path; `kept` are ids of what it must not change, such as the key that it asks with.
"""

import json
import os
from collections.abc import Callable
from typing import Any

import schemathesis

Json = dict[str, Any]
KNOWN: Json = json.loads(os.environ["CHORUS_CONFORMANCE"])
LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
TOKENS = 8  # of an answer: what it says does not matter here
FEW = ("n", "best_of")
CHANGES = ("DELETE", "PATCH", "POST")
ONLY_WITH = {"stream_options": "stream", "top_logprobs": "logprobs"}  # which no JSON schema here says


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: Json) -> None:
    for path, methods in raw_schema["paths"].items():
        known = either if path.startswith("/admin") else one_of
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                values = KNOWN["path"].get(parameter["name"])
                if parameter["in"] == "path" and values:
                    parameter["schema"] = known(values, parameter["schema"])
            body = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if body:
                if examples := KNOWN["examples"].get(path):
                    body["examples"] = {str(number): {"value": each} for number, each in enumerate(examples)}
                bind(resolved(raw_schema, body["schema"]), known)


def one_of(values: list[Any], schema: Json) -> Json:
    """What is none of these is refused."""
    return {"enum": values}


def either(values: list[Any], schema: Json) -> Json:
    """One of these, or whatever was right before: administrators may speak of what does not exist yet."""
    return {"anyOf": [{"enum": values}, schema]}


def resolved(description: Json, schema: Json) -> Json:
    if "$ref" not in schema:
        return schema
    found: Json = description["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def bind(body: Json, known: Callable[[list[Any], Json], Json]) -> None:
    fields = body.get("properties", {})
    for name in fields:
        if name in KNOWN["fields"]:
            fields[name] = known(KNOWN["fields"][name], fields[name])
        elif name in FEW:
            fields[name] = {"type": "integer", "minimum": 1, "maximum": 2}
        elif name in LIMITS:
            fields[name] = {"type": "integer", "minimum": 1, "maximum": TOKENS}
            body["required"] = [*dict.fromkeys([*body.get("required", ()), name])]


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Json) -> None:
    if isinstance(case.body, dict):
        for name, needed in ONLY_WITH.items():
            if case.body.get(name) is not None and case.body.get(needed) in (None, False):
                case.body[needed] = True
    for name, value in (case.path_parameters or {}).items():
        if case.method in CHANGES and value in KNOWN["kept"]:
            case.path_parameters[name] = "another"
