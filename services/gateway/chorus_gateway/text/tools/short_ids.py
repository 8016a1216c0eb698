"""Conversations for templates that take none but short ids of calls."""

from collections.abc import Mapping, Sequence
from typing import Any

from chorus_gateway.text.tools.ids import shortened


def with_short_ids(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [_shortened(message) for message in messages]


def _shortened(message: Mapping[str, Any]) -> Mapping[str, Any]:
    changed = dict(message)
    if "tool_call_id" in message:
        changed["tool_call_id"] = shortened(message["tool_call_id"])
    if message.get("tool_calls"):
        changed["tool_calls"] = [{**call, "id": shortened(call["id"])} for call in message["tool_calls"]]
    return changed
