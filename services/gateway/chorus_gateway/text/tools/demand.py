"""Requests whose answers must call a tool, or whose calls must keep to their tool's schema."""

import json
from collections.abc import Mapping
from dataclasses import replace

from chorus_gateway.ask import Ask
from chorus_gateway.errors import InvalidRequest
from chorus_gateway.text.tokenizer import ModelTokenizer
from chorus_gateway.text.tools.grammar import json_of, lark
from chorus_gateway.tools import Tool, ToolUse
from chorus_gateway.values import Constraint, ConstraintKind


def demanding(ask: Ask, tokenizer: ModelTokenizer) -> Ask:
    """`ask` with the constraint that its tools are, in the model's own way of calling them."""
    use, asked = ask.tools, ask.sampling.constraint
    if use is None or not (use.required or asked is not None or any(tool.strict for tool in use.callable)):
        return ask
    grammar = _grammar(use, asked, tokenizer)
    constraint = Constraint(ConstraintKind.LARK, grammar, param="tools", origins=_origins(use, asked))
    return replace(ask, sampling=replace(ask.sampling, constraint=constraint))


def _grammar(use: ToolUse, asked: Constraint | None, tokenizer: ModelTokenizer) -> str:
    form, spell = tokenizer.tool_format, tokenizer.spell
    if asked is None and not use.required:
        return form.free([_loose(tool) for tool in use.callable], spell)
    answer = None if asked is None else _answer(asked)
    calls = form.calls(use.callable, spell, parallel=use.parallel)
    if answer is None or use.required:
        return lark("calls", *calls)
    return lark("calls | answer", *calls, f"answer: {answer}")


def _origins(use: ToolUse, asked: Constraint | None) -> tuple[tuple[str, str, str], ...]:
    named = [(at, f"the parameters of {tool.name!r}") for at, tool in enumerate(use.callable)]
    rules = [(f"{rule}_{at}", "tools", words) for at, words in named for rule in ("call", "arguments")]
    return (*rules, ("answer", asked.param, "")) if asked is not None else tuple(rules)


def _answer(asked: Constraint) -> str:
    """A rule's body."""
    try:
        return json_of(_schema(asked))
    except RecursionError as error:
        raise InvalidRequest(f"{asked.param}: is nested too deeply: make it simpler.", param=asked.param) from error


def _loose(tool: Tool) -> Tool:
    """Only strict ones are held to their schema where the model chooses."""
    return tool if tool.strict else replace(tool, parameters={"type": "object", "additionalProperties": True})


def _schema(asked: Constraint) -> Mapping[str, object]:
    if asked.kind is ConstraintKind.JSON_OBJECT:
        return {"type": "object"}
    if asked.kind is ConstraintKind.JSON_SCHEMA:
        return _parsed(asked)
    raise InvalidRequest(
        f"{asked.param}: with tools that the model may call, an answer can only be held to JSON: leave the tools out,"
        " or send tool_choice 'none'.",
        param=asked.param,
    )


def _parsed(asked: Constraint) -> Mapping[str, object]:
    try:
        schema = json.loads(asked.source)
    except ValueError as error:
        raise InvalidRequest(f"{asked.param}: is no JSON: {error}.", param=asked.param) from error
    if not isinstance(schema, dict):
        raise InvalidRequest(f"{asked.param}: a schema must be an object.", param=asked.param)
    return schema
