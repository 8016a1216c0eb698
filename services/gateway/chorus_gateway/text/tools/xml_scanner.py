"""One call of a tool as Qwen3-Coder writes it, read while its text arrives."""

import json
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

from chorus_gateway.text.tools.call_scanner import NO_ARGUMENTS

FUNCTION, END_FUNCTION = "<function=", "</function>"
PARAMETER, END_PARAMETER = "<parameter=", "</parameter>"
_NAMES = 256  # characters of a name, at most

Properties = Mapping[str, Any]  # by name, their schemas


class _At(Enum):
    OPEN = auto()
    BETWEEN = auto()  # parameters
    VALUE = auto()
    END = auto()


class XmlScanner:
    """Reads `<function=name>`, `<parameter=key>`, a value and `</parameter>` as often as wanted, `</function>`.

    The arguments are handed on as JSON: texts as they are written, other values once they are whole. What a parameter
    is its tool's schema says; of those that it does not name nothing is known, and they are texts.
    """

    def __init__(self, tools: Mapping[str, Properties]) -> None:
        self.name = ""
        self.broken = False
        self._tools = tools
        self._at = _At.OPEN
        self._held = ""  # what was not understood yet
        self._ready = ""  # arguments that nobody took yet
        self._count = 0  # parameters
        self._schema: Any = None  # of the parameter that is read
        self._begun = False  # to read its value

    @property
    def done(self) -> bool:
        return self._at is _At.END

    def feed(self, text: str) -> str:
        """What follows the call. Of what can be no call nothing is left."""
        self._held += text
        while not (self.done or self.broken) and self._step():
            pass
        rest, self._held = (self._held, "") if self.done else ("", self._held)
        return rest

    def take(self) -> str:
        """Arguments that came since the last time."""
        ready, self._ready = self._ready, ""
        return ready

    def _step(self) -> bool:
        """Whether anything was understood; else more has to come."""
        if self._at is _At.VALUE:
            return self._step_value()
        self._held = self._held.lstrip()
        if self._at is _At.OPEN:
            return self._step_tag(FUNCTION)
        if self._held.startswith(END_FUNCTION):
            self._held = self._held.removeprefix(END_FUNCTION)
            self._ready += "}" if self._count else NO_ARGUMENTS
            self._at = _At.END
            return True
        if END_FUNCTION.startswith(self._held):
            return False
        return self._step_tag(PARAMETER)

    def _step_tag(self, tag: str) -> bool:
        """`<tag=name>`."""
        named, found, rest = self._held.removeprefix(tag).partition(">")
        if not self._held.startswith(tag) or not found:
            whole = self._held.startswith(tag) and len(named) <= _NAMES
            self.broken = not (whole or tag.startswith(self._held))
            return False
        self._held = rest
        if tag == FUNCTION:
            self.name, self._at = named.strip(), _At.BETWEEN
            self.broken = not self.name
        else:
            self._begin_value(named.strip())
        return True

    def _begin_value(self, key: str) -> None:
        self._schema = self._tools.get(self.name, {}).get(key)
        self._ready += f"{', ' if self._count else '{'}{json.dumps(key, ensure_ascii=False)}: "
        self._count += 1
        self._at, self._begun = _At.VALUE, False

    def _step_value(self) -> bool:
        if not self._begun:
            if not self._held:
                return False
            self._held = self._held.removeprefix("\n")
            self._begun = True
            self._ready += '"' if is_text(self._schema) else ""
        value, found, rest = self._held.partition(END_PARAMETER)
        if found:
            self._held, self._at = rest, _At.BETWEEN
            value = value.removesuffix("\n")
            self._ready += f'{_escaped(value)}"' if is_text(self._schema) else _value(value, self._schema)
            return True
        if is_text(self._schema):
            decided = _decided(self._held)
            self._ready += _escaped(self._held[:decided])
            self._held = self._held[decided:]
        return False


def is_text(schema: Any) -> bool:
    """Whether values are texts and nothing else, as far as the schema says. So are those of no schema."""
    return not isinstance(schema, Mapping) or _types(schema) <= {"string"}


def _types(schema: Mapping[str, Any]) -> set[str]:
    """The empty set is not known."""
    kinds = schema.get("type")
    if kinds is not None:
        return set(kinds) if isinstance(kinds, list) else {kinds}
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if values is not None:
        return {"string" if isinstance(value, str) else "other" for value in values}
    parts = [part for word in ("anyOf", "oneOf", "allOf") for part in schema.get(word, ())]
    return set[str]().union(*(_types(part) if isinstance(part, Mapping) else set() for part in parts))


def _value(written: str, schema: Mapping[str, Any]) -> str:
    """As JSON: what it says if that is JSON and need not be a text, else a text."""
    text = written.strip()
    if text in ("True", "False", "None"):  # as Python has them
        text = "null" if text == "None" else text.lower()
    kinds = _types(schema)
    try:
        read = json.loads(text)
    except ValueError:
        return json.dumps(written, ensure_ascii=False)
    if "string" in kinds and not (read is None and "null" in kinds):
        return json.dumps(written, ensure_ascii=False)
    return text


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _decided(held: str) -> int:
    """Length of the held text without an end that may belong to the parameter's."""
    end = f"\n{END_PARAMETER}"
    for at in range(max(0, len(held) - len(end)), len(held)):
        if end.startswith(held[at:]) or END_PARAMETER.startswith(held[at:]):
            return at
    return len(held)
