"""Hermes' and Qwen's way: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, as often as wanted, in any text."""

from collections.abc import Callable, Sequence

from chorus_gateway.text.tools.call_scanner import CallScanner
from chorus_gateway.text.tools.call_writer import CallWriter, Scanner
from chorus_gateway.text.tools.grammar import TEXT, Spell, lark, literal, opened, repeated, rules_of
from chorus_gateway.text.tools.ids import call_id
from chorus_gateway.text.tools.marked_text import MarkedText
from chorus_gateway.text.tools.reader import Read
from chorus_gateway.tools import Tool, ToolUse

OPEN, CLOSE = "<tool_call>", "</tool_call>"


class Hermes:
    name = "hermes"
    markers = (OPEN, CLOSE)

    def reader(self, use: ToolUse) -> "HermesReader":
        return HermesReader(CallScanner)

    def calls(self, tools: Sequence[Tool], spell: Spell, *, parallel: bool) -> list[str]:
        return [repeated("\n", parallel=parallel), *_rules(tools, spell(OPEN), spell(CLOSE))]

    def free(self, tools: Sequence[Tool], spell: Spell) -> str:
        opening = opened(OPEN, spell(OPEN))
        return lark("call* TEXT", *_rules(tools, "opened", spell(CLOSE)), opening, TEXT)


def _rules(tools: Sequence[Tool], opening: str, closing: str) -> list[str]:
    def call(tool: Tool, arguments: str) -> str:
        head, end = literal(f'\n{{"name": "{tool.name}", "arguments": '), literal("}\n")
        return f"{opening} {head} {arguments} {end} {closing}"

    return rules_of(tools, call)


class HermesReader:
    def __init__(self, new_scanner: Callable[[], Scanner]) -> None:
        """`new_scanner`: of what is written inside the tags."""
        self._new_scanner = new_scanner
        self._calls = CallWriter(call_id)
        self._text = MarkedText(OPEN, CLOSE)
        self._trims = False  # nothing was said since a marker

    @property
    def called(self) -> int:
        return self._calls.finished

    def feed(self, text: str) -> Read:
        out = ""
        while text:
            if self._calls.open:
                lost, text = self._calls.feed(text, len(out))
                self._trims = not lost
                out += lost
                continue
            before, marker, text = self._text.feed(text)
            out += self._said(before)
            self._trims = self._trims or bool(marker)
            if marker == OPEN:
                self._calls.begin(self._new_scanner(), raw=OPEN)
        return Read(out, self._calls.drain())

    def flush(self) -> Read:
        lost = self._calls.flush()
        return Read(lost + self._said(self._text.flush()), self._calls.drain())

    def _said(self, text: str) -> str:
        """White space around calls is nobody's."""
        said = text.lstrip() if self._trims else text
        self._trims = self._trims and not said
        return said
