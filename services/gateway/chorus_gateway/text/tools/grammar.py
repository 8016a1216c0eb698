"""Calls of tools as a grammar (Lark, as llguidance reads it) that the engine holds the model to."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence

from chorus_gateway.tools import Tool

# A marker as the grammar has it: a text, or `<[id]>` for one that is a token of its own.
Spell = Callable[[str], str]
WHITESPACE = r"[ ]|\n[ ]{0,64}"
TEXT = "TEXT: /(.|\\n)*/"
COMBINED = ("$ref", "anyOf", "allOf", "oneOf", "patternProperties")


def literal(text: str) -> str:
    return json.dumps(text)


def json_of(schema: Mapping[str, object]) -> str:
    """A rule's body: JSON with bounded blanks between its parts, as the engine has it for schemas that stand alone."""
    return f"%json {json.dumps({**schema, 'x-guidance': {'whitespace_pattern': WHITESPACE}})}"


def rules_of(tools: Sequence[Tool], call: Callable[[Tool, str], str]) -> list[str]:
    """A rule `call` of any of the tools; `call` writes a tool's body around the rule of its arguments."""
    arguments = [f"arguments_{at}: {json_of(closed(tool))}" for at, tool in enumerate(tools)]
    return [*rules(call(tool, f"arguments_{at}") for at, tool in enumerate(tools)), *arguments]


def rules(calls: Iterable[str]) -> list[str]:
    """A rule `call` of any of them."""
    each = [f"call_{at}: {call}" for at, call in enumerate(calls)]
    return [f"call: {' | '.join(rule.partition(':')[0] for rule in each)}", *each]


def repeated(separator: str, *, parallel: bool) -> str:
    if not parallel:
        return "calls: call"
    return f"calls: call ({literal(separator)} call)*" if separator else "calls: call+"


def lark(start: str, *rules: str) -> str:
    return "\n".join((f"start: {start}", *rules))


def opened(marker: str, spelled: str) -> str:
    """A rule `opened` of any text up to where a call begins."""
    is_token = spelled.startswith("<[")
    return f"opened: TEXT {spelled}" if is_token else f"opened[lazy]: TEXT {literal(marker)}"


def closed(tool: Tool) -> dict[str, object]:
    """Its arguments' schema. What the schema does not speak of is no argument, unless it says so."""
    schema = dict(tool.parameters)
    if any(word in schema for word in COMBINED):
        return schema
    return {"additionalProperties": False, **schema, "type": "object"}
