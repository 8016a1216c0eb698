"""Mistral's ways: `[TOOL_CALLS][{"name": …, "arguments": {…}}, …]`, or `[TOOL_CALLS]name[ARGS]{…}` for each call."""

from collections.abc import Sequence

from chorus_gateway.text.tools.call_scanner import CallScanner
from chorus_gateway.text.tools.call_writer import CallWriter
from chorus_gateway.text.tools.grammar import TEXT, Spell, lark, literal, opened, repeated, rules_of
from chorus_gateway.text.tools.ids import short_call_id
from chorus_gateway.text.tools.marked_text import MarkedText
from chorus_gateway.text.tools.reader import Read
from chorus_gateway.tools import Tool, ToolUse

CALLS, ARGS, ID = "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"
_BETWEEN = " \t\r\n,"


class Mistral:
    name = "mistral"
    markers = (CALLS, ARGS, ID)

    def __init__(self, *, named: bool = False) -> None:
        """`named`: of the two ways the newer one."""
        self._named = named

    def reader(self, use: ToolUse) -> "MistralReader":
        return MistralReader()

    def calls(self, tools: Sequence[Tool], spell: Spell, *, parallel: bool) -> list[str]:
        return self._rules(tools, spell(CALLS), spell, parallel)

    def free(self, tools: Sequence[Tool], spell: Spell) -> str:
        opening = opened(CALLS, spell(CALLS))
        return lark("calls? TEXT", *self._rules(tools, "opened", spell, parallel=True), opening, TEXT)

    def _rules(self, tools: Sequence[Tool], opening: str, spell: Spell, parallel: bool) -> list[str]:
        def named(tool: Tool, arguments: str) -> str:
            return f"{opening} {literal(tool.name)} {spell(ARGS)} {arguments}"

        def listed(tool: Tool, arguments: str) -> str:
            head = literal(f'{{"name": "{tool.name}", "arguments": ')
            return f'{head} {arguments} "}}"'

        if self._named:
            return [repeated("", parallel=parallel), *rules_of(tools, named)]
        more = ' (", " call)*' if parallel else ""
        return [f'calls: {opening} "[" call{more} "]"', *rules_of(tools, listed)]


class MistralReader:
    def __init__(self) -> None:
        self._calls = CallWriter(short_call_id)
        self._text = MarkedText(CALLS)
        self._head = ""  # what follows the marker, up to where a call's JSON begins
        self._listed = False  # calls stand in a list
        self._expects = False  # a call is to begin
        self._trims = False  # nothing was said since a call

    @property
    def called(self) -> int:
        return self._calls.finished

    def feed(self, text: str) -> Read:
        out = ""
        while text:
            if self._calls.open:
                lost, text = self._calls.feed(text, len(out))
                self._expects = self._listed and not self._calls.open
                self._trims = not lost
                out += lost
            elif self._expects:
                text = self._begin(text)
            else:
                before, marker, text = self._text.feed(text)
                out += self._said(before)
                self._expects, self._listed = bool(marker), False
        return Read(out, self._calls.drain())

    def flush(self) -> Read:
        lost, self._head = self._calls.flush() or self._head, ""
        return Read(lost + self._said(self._text.flush()), self._calls.drain())

    def _said(self, text: str) -> str:
        """White space after calls is nobody's."""
        said = text.lstrip() if self._trims else text
        self._trims = self._trims and not said
        return said

    def _begin(self, text: str) -> str:
        """What is left of the text, once a call begins in it or cannot."""
        for at, character in enumerate(text):
            head = self._head.strip(_BETWEEN)
            if character == "[" and not head and not self._listed:
                self._listed = True
            elif character == "]" and self._listed:
                self._expects, self._head = False, ""
                return text[at + 1 :]
            elif character == "{":
                name = min((head.partition(marker)[0] for marker in (ARGS, ID)), key=len).strip()
                self._calls.begin(CallScanner(name), raw=self._head)
                self._head = ""
                return text[at:]
            else:
                self._head += character
        return ""
