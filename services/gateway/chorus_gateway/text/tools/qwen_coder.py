"""Qwen3-Coder's way: `<tool_call><function=name><parameter=key>value</parameter>…</function></tool_call>`."""

from collections.abc import Mapping, Sequence
from typing import Any

from chorus_gateway.errors import InvalidRequest
from chorus_gateway.text.tools.grammar import COMBINED, TEXT, Spell, json_of, lark, literal, opened, repeated, rules
from chorus_gateway.text.tools.hermes import CLOSE, OPEN, HermesReader
from chorus_gateway.text.tools.xml_scanner import END_FUNCTION, END_PARAMETER, FUNCTION, PARAMETER, XmlScanner, is_text
from chorus_gateway.tools import Tool, ToolUse

_END = f"\n{END_PARAMETER}\n"
_TEXT = f"text[lazy]: TEXT {literal(_END)}"
_ANY = f'any: ({literal(PARAMETER)} /[^>\\n]+/ ">\\n" text)*'
_UNKEPT = ("pattern", "format", "minLength", "maxLength", "allOf", "anyOf", "oneOf", "not")  # of texts


class QwenCoder:
    name = "qwen3-coder"
    markers = (OPEN, CLOSE)

    def reader(self, use: ToolUse) -> HermesReader:
        known = {tool.name: _properties(tool) for tool in use.tools}
        return HermesReader(lambda: XmlScanner(known))

    def calls(self, tools: Sequence[Tool], spell: Spell, *, parallel: bool) -> list[str]:
        return [repeated("\n", parallel=parallel), *_rules(tools, spell(OPEN), spell(CLOSE)), TEXT]

    def free(self, tools: Sequence[Tool], spell: Spell) -> str:
        opening = opened(OPEN, spell(OPEN))
        return lark("call* TEXT", *_rules(tools, "opened", spell(CLOSE)), opening, TEXT)


def _rules(tools: Sequence[Tool], opening: str, closing: str) -> list[str]:
    bodies = []
    for tool in tools:
        head, end = literal(f"\n{FUNCTION}{tool.name}>\n"), literal(f"{END_FUNCTION}\n")
        bodies.append(f"{opening} {head} {_parameters(tool)} {end} {closing}")
    return [*rules(bodies), _TEXT, _ANY]


def _parameters(tool: Tool) -> str:
    """In the schema's order, as they keep to it. InvalidRequest for what this way of writing them has no form for."""
    schema = tool.parameters
    if any(word in schema for word in COMBINED):
        raise _unkept(tool, next(word for word in COMBINED if word in schema))
    found = []
    for key, part in _properties(tool).items():
        optional = "" if key in schema.get("required", ()) else "?"
        found.append(f"({literal(f'{PARAMETER}{key}>' + chr(10))} {_value(tool, part)}){optional}")
    if schema.get("additionalProperties"):
        found.append("any")
    return " ".join(found)


def _value(tool: Tool, schema: Any) -> str:
    """With the parameter's end."""
    if not is_text(schema):
        return f"{json_of({**_shared(tool), **schema})} {literal(_END)}"
    if not isinstance(schema, Mapping):
        return "text"
    if unkept := [word for word in _UNKEPT if word in schema]:
        raise _unkept(tool, unkept[0])
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if values is None:
        return "text"
    return f"({' | '.join(literal(value) for value in values)}) {literal(_END)}"


def _properties(tool: Tool) -> Mapping[str, Any]:
    """A reference that is a whole property is followed."""
    properties: Mapping[str, Any] = tool.parameters.get("properties") or {}
    return {key: _followed(tool, part) for key, part in properties.items()}


def _followed(tool: Tool, schema: Any) -> Any:
    seen = 0
    while isinstance(schema, Mapping) and str(schema.get("$ref", "")).startswith("#/") and seen < 8:
        found: Any = tool.parameters
        for step in str(schema["$ref"])[2:].split("/"):
            found = found.get(step) if isinstance(found, Mapping) else None
        if found is None:
            return schema
        schema, seen = found, seen + 1
    return schema


def _shared(tool: Tool) -> dict[str, Any]:
    return {word: tool.parameters[word] for word in ("$defs", "definitions") if word in tool.parameters}


def _unkept(tool: Tool, word: str) -> InvalidRequest:
    return InvalidRequest(
        f"tools: '{tool.name}' has '{word}' where this model writes plain text, which cannot be held to it: leave it"
        " out, or let the model choose without 'strict'.",
        param="tools",
    )
