"""Llama 3's way: an answer that is `{"name": …, "parameters": {…}}` and nothing else, maybe after `<|python_tag|>`."""

from collections.abc import Sequence
from typing import Any

from chorus_gateway.text.tools.call_scanner import CallScanner
from chorus_gateway.text.tools.call_writer import CallWriter
from chorus_gateway.text.tools.grammar import Spell, closed, json_of, lark, repeated, rules
from chorus_gateway.text.tools.ids import call_id
from chorus_gateway.text.tools.marked_text import MarkedText
from chorus_gateway.text.tools.reader import Read
from chorus_gateway.tools import Tool, ToolUse

TAG = "<|python_tag|>"
_KEYS = frozenset({"type", "name", "parameters", "arguments"})
_SHARED = ("$defs", "definitions")
_BETWEEN = " \t\r\n;,"


class Llama3:
    name = "llama3"
    markers = (TAG,)

    def reader(self, use: ToolUse) -> "Llama3Reader":
        return Llama3Reader(frozenset(tool.name for tool in use.tools))

    def calls(self, tools: Sequence[Tool], spell: Spell, *, parallel: bool) -> list[str]:
        # As JSON from its first brace on: a literal would hide that an answer in JSON may begin so too.
        calls = (json_of(_as_object(tool)) for tool in tools)
        return [repeated("; ", parallel=parallel), *rules(calls)]

    def free(self, tools: Sequence[Tool], spell: Spell) -> str:
        # A text that begins as a call does is one.
        answer = r"ANSWER: /\s*([^{\s](.|\n)*)?/"
        return lark("calls | ANSWER", *self.calls(tools, spell, parallel=True), answer)


def _as_object(tool: Tool) -> dict[str, Any]:
    arguments = closed(tool)
    # References are to the root of the schema that they stand in.
    shared: dict[str, Any] = {word: arguments.pop(word) for word in _SHARED if word in arguments}
    properties = {"name": {"const": tool.name}, "parameters": arguments}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
        **shared,
    }


class Llama3Reader:
    """An object is a call if it names one of the `names` and has nothing that calls have not; else it is text, as
    answers in JSON are."""

    def __init__(self, names: frozenset[str]) -> None:
        self._calls = CallWriter(call_id, names)
        self._text = MarkedText(TAG)
        self._between = ""  # what came where a call may begin
        self._expects = True  # a call may begin here

    @property
    def called(self) -> int:
        return self._calls.finished

    def feed(self, text: str) -> Read:
        out = ""
        while text:
            if self._calls.open:
                lost, text = self._calls.feed(text, len(out))
                self._expects = not lost and not self._calls.open
                out += lost
            elif self._expects:
                text = self._maybe_begin(text)
            else:
                before, marker, text = self._text.feed(text)
                self._expects = bool(marker)
                out += before
        return Read(out, self._calls.drain())

    def flush(self) -> Read:
        text = self._calls.flush() + ("" if self._calls.count else self._between) + self._text.flush()
        self._between = ""
        return Read(text, self._calls.drain())

    def _maybe_begin(self, text: str) -> str:
        """What is left of the text. White space at first and what stands between calls waits for what follows it."""
        text, self._between = self._between + text, ""
        inner = text.lstrip(_BETWEEN if self._calls.count else " \t\r\n")
        if inner.startswith(TAG):
            return inner.removeprefix(TAG)
        if not inner or TAG.startswith(inner):
            self._between = text
            return ""
        self._expects = False
        if inner.startswith("{"):
            self._calls.begin(CallScanner(keys=_KEYS), raw=text.removesuffix(inner) if not self._calls.count else "")
        return inner if inner.startswith("{") or self._calls.count else text
