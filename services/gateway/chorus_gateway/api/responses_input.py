"""The items of a response's input as the messages of a conversation."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from chorus_gateway.api.schema_types import whole
from chorus_gateway.api.schemas_tools import read_arguments
from chorus_gateway.errors import InvalidRequest

MAX_ITEMS = 4096
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_TEXTS = ("input_text", "output_text", "text")

Message = dict[str, Any]


def messages_of(instructions: str | None, given: Any) -> tuple[Message, ...]:
    """InvalidRequest names the item at fault."""
    conversation = _Conversation()
    if instructions is not None:
        conversation.say("system", _whole(instructions, "instructions"))
    if isinstance(given, str):
        conversation.say("user", _whole(given, "input"))
    elif isinstance(given, list) and 0 < len(given) <= MAX_ITEMS:
        for at, item in enumerate(given):
            conversation.add(item, f"input.{at}")
    else:
        raise InvalidRequest(f"input: must be a text or a list of 1 to {MAX_ITEMS} items.", param="input")
    if not conversation.messages:
        raise InvalidRequest("input: has nothing but reasoning, which is left out: send a message too.", param="input")
    return tuple(conversation.messages)


class _Conversation:
    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._calls: set[str] = set()

    def say(self, role: str, content: str) -> None:
        self.messages.append({"role": role, "content": content})

    def add(self, item: Any, where: str) -> None:
        if not isinstance(item, Mapping):
            raise InvalidRequest(f"{where}: must be an object.", param=where)
        match item.get("type", "message"):
            case "message":
                self._message(item, where)
            case "function_call":
                self._call(item, where)
            case "function_call_output":
                self._result(item, where)
            case "reasoning":
                pass  # an earlier answer's way there, of a model that tells it
            case other:
                shown = repr(other[:64]) if isinstance(other, str) else "what is no text"
                raise InvalidRequest(
                    f"{where}.type: {shown} is not supported, only 'message', 'function_call' and"
                    " 'function_call_output' are.",
                    param=f"{where}.type",
                )

    def _message(self, item: Mapping[str, Any], where: str) -> None:
        given = item.get("role")
        role = _ROLES.get(given) if isinstance(given, str) else None
        if role is None:
            raise InvalidRequest(
                f"{where}.role: must be 'user', 'assistant', 'system' or 'developer'.", param=f"{where}.role"
            )
        self.say(role, _content(item.get("content"), f"{where}.content"))

    def _call(self, item: Mapping[str, Any], where: str) -> None:
        name, call_id, arguments = (_text_of(item, field, where) for field in ("name", "call_id", "arguments"))
        self._calls.add(call_id)
        function = {"name": name, "arguments": read_arguments(arguments)}
        if not self.messages or self.messages[-1]["role"] != "assistant":
            self.say("assistant", "")
        self.messages[-1].setdefault("tool_calls", []).append({"id": call_id, "type": "function", "function": function})

    def _result(self, item: Mapping[str, Any], where: str) -> None:
        call_id = _text_of(item, "call_id", where)
        if call_id not in self._calls:
            raise InvalidRequest(
                f"{where}.call_id: {call_id[:64]!r} is of no function_call before it.", param=f"{where}.call_id"
            )
        content = _content(item.get("output"), f"{where}.output")
        self.messages.append({"role": "tool", "tool_call_id": call_id, "content": content})


def _text_of(item: Mapping[str, Any], field: str, where: str) -> str:
    value = item.get(field)
    if not isinstance(value, str):
        raise InvalidRequest(f"{where}.{field}: must be a text.", param=f"{where}.{field}")
    return _whole(value, f"{where}.{field}")


def _content(content: Any, where: str) -> str:
    if isinstance(content, str):
        return _whole(content, where)
    if not isinstance(content, Sequence):
        raise InvalidRequest(f"{where}: must be a text or a list of text parts.", param=where)
    return "\n".join(_part(part, where, at) for at, part in enumerate(content))


def _part(part: Any, where: str, at: int) -> str:
    match part:
        case {"type": str(kind), "text": str(text)} if kind in _TEXTS:
            return _whole(text, where)
        case {"type": "refusal", "refusal": str(text)}:
            return _whole(text, where)
    given: Any = part.get("type") if isinstance(part, Mapping) else part
    shown = "no text part" if isinstance(given, dict | list) else json.dumps(given)[:64]
    raise InvalidRequest(f"{where}: part {at} is {shown}, and only texts are supported.", param=where)


def _whole(text: str, where: str) -> str:
    try:
        return whole(text)
    except ValueError as error:
        raise InvalidRequest(f"{where}: {error}.", param=where) from error
