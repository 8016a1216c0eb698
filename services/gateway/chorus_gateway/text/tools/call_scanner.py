"""One call of a tool, read while its text arrives."""

import json
from enum import Enum, auto

from chorus_gateway.text.tools.json_text import JsonValue

_SPACE = " \t\r\n"
_ARGUMENTS = ("arguments", "parameters")
NO_ARGUMENTS = "{}"


class _At(Enum):
    OPEN = auto()
    KEY = auto()
    COLON = auto()
    VALUE = auto()
    ARGUMENTS = auto()  # of a call whose name was written before them
    END = auto()


class CallScanner:
    """Reads `{"name": …, "arguments": {…}}`, or the arguments alone of a call whose `name` is known.

    Arguments are handed on as the model writes them, from the moment at which the name is known. `broken` once the text
    can be no call: no JSON object, or, if `keys` are given, one with a key that is none of them.
    """

    def __init__(self, name: str = "", keys: frozenset[str] | None = None) -> None:
        self.name = name
        self.broken = False
        self._keys = keys
        self._at = _At.ARGUMENTS if name else _At.OPEN
        self._value = JsonValue()
        self._text = ""  # of the key or value that is being read
        self._key = ""
        self._ready = ""  # arguments that nobody took yet
        self._quoted = False  # the arguments are a text that has JSON in it
        self._any = False

    @property
    def done(self) -> bool:
        return self._at is _At.END

    def feed(self, text: str) -> str:
        """What follows the call, or what could not be read."""
        for at, character in enumerate(text):
            if self.done or self.broken:
                return text[at:]
            self._step(character)
        return ""

    def take(self) -> str:
        """Arguments that came since the last time."""
        if not self.name:
            return ""
        if self.done and not self._any:
            self._any = True
            return NO_ARGUMENTS
        ready, self._ready = self._ready, ""
        return ready

    def _step(self, character: str) -> None:
        if self._at in (_At.VALUE, _At.ARGUMENTS):
            self._step_value(character)
        elif self._at is _At.KEY and self._text:
            self._step_key(character)
        elif character not in _SPACE:
            self._step_between(character)

    def _step_between(self, character: str) -> None:
        if self._at is _At.OPEN and character == "{":
            self._at = _At.KEY
        elif self._at is _At.KEY and character == '"':
            self._text, self._value = '"', JsonValue()
            self._value.step(character)
        elif self._at is _At.KEY and character == "}":
            self._finish()
        elif self._at is _At.COLON and character == ":":
            self._at, self._text, self._value = _At.VALUE, "", JsonValue()
        elif not (self._at is _At.KEY and character == ","):
            self.broken = True

    def _step_key(self, character: str) -> None:
        self._value.step(character)
        self._text += character
        if self._value.done:
            self._key, self._text = self._text[1:-1], ""
            self._at = _At.COLON
            self.broken = self._keys is not None and self._key not in self._keys

    def _step_value(self, character: str) -> None:
        if not self._text and character in _SPACE:
            return
        is_arguments = self._at is _At.ARGUMENTS or self._key in _ARGUMENTS
        if not self._text:
            self._begin_value(character, is_arguments)
            if self.broken:
                return
        belongs = self._value.step(character)
        if belongs:
            self._text += character
            if is_arguments and not self._quoted:
                self._any = True
                self._ready += character
        if self._value.done:
            self._end_value(is_arguments)
            if not belongs:
                self._step(character)

    def _begin_value(self, character: str, is_arguments: bool) -> None:
        if self._at is _At.ARGUMENTS and character != "{":
            self.broken = True
        self._quoted = is_arguments and character != "{"

    def _end_value(self, is_arguments: bool) -> None:
        text, self._text = self._text, ""
        if self._at is _At.ARGUMENTS:
            self._at = _At.END
            return
        self._at = _At.KEY
        if is_arguments and self._quoted:
            self._add_quoted(text)
        elif self._key == "name":
            self._read_name(text)

    def _add_quoted(self, text: str) -> None:
        """Some models write the arguments as a text; a null, or another value, are no arguments."""
        value = _loaded(text)
        if isinstance(value, str):
            self._any, self._ready = True, self._ready + value

    def _read_name(self, text: str) -> None:
        value = _loaded(text)
        self.name = value if isinstance(value, str) else ""
        self.broken = not self.name

    def _finish(self) -> None:
        self._at = _At.END
        self.broken = not self.name


def _loaded(text: str) -> object:
    try:
        return json.loads(text, strict=False)
    except ValueError:
        return None
