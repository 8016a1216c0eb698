"""Tools for models whose chat template has no place for them: told in Hermes' words, in messages of plain text."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from chorus_gateway.text.tools.hermes import CLOSE, OPEN

_INSTRUCTIONS = """# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{signatures}
</tools>

For each function call, return a json object with function name and arguments within {open}{close} XML tags:
{open}
{{"name": <function-name>, "arguments": <args-json-object>}}
{close}"""

Message = Mapping[str, Any]


def plain(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> list[Message]:
    """The same conversation with the roles system, user and assistant alone."""
    told = _with_instructions(messages, tools) if tools else list(messages)
    shown: list[Message] = []
    for message in told:
        if message["role"] != "tool":
            shown.append(_with_calls(message))
            continue
        response = f"<tool_response>\n{message['content']}\n</tool_response>"
        if shown and shown[-1].get("answers_calls"):
            shown[-1] = {**shown[-1], "content": f"{shown[-1]['content']}\n{response}"}
        else:
            shown.append({"role": "user", "content": response, "answers_calls": True})
    return shown


def _with_instructions(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> list[Message]:
    signatures = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    instructions = _INSTRUCTIONS.format(signatures=signatures, open=OPEN, close=CLOSE)
    first, *others = messages
    if first["role"] != "system":
        return [{"role": "system", "content": instructions}, *messages]
    return [{**first, "content": f"{first['content']}\n\n{instructions}"}, *others]


def _with_calls(message: Message) -> Message:
    calls = [_written(call["function"]) for call in message.get("tool_calls") or ()]
    if not calls:
        return message
    said = [message["content"]] if message["content"] else []
    return {"role": message["role"], "content": "\n".join([*said, *calls])}


def _written(function: Mapping[str, Any]) -> str:
    call = json.dumps({"name": function["name"], "arguments": function["arguments"]}, ensure_ascii=False)
    return f"{OPEN}\n{call}\n{CLOSE}"
