"""JSON of large bodies, read beside the event loop.

Python's reader keeps all other threads waiting until it is through: half a second for eight megabytes of small values.
Here it is given a piece at a time, and others go on in between. What is read, and what is refused, is the same.
"""

import json
import re
import time
from typing import Any, Final

_PIECE: Final = 1 << 15  # characters of flat values that are read at once: about a millisecond
_SMALL: Final = 1 << 12  # of one list or object
_PAUSE_AFTER: Final = 256  # values
MAX_NESTS: Final = 100_000  # lists and objects: each is work for the collector, which no piece bounds

_SPACE = re.compile(r"[ \t\n\r]*")
_read_one = json.JSONDecoder().raw_decode


class TooManyNests(ValueError):
    pass


def read_in_turns(content: bytes) -> object:
    """As json.loads, with its errors; TooManyNests, a ValueError too, for more than MAX_NESTS lists and objects."""
    text = content.decode(json.detect_encoding(content), "surrogatepass")
    value, end = _Reader(text).value(_skip(text, 0))
    if (end := _skip(text, end)) != len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    return value


def _skip(text: str, at: int) -> int:
    """Past white space."""
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._nests = 0
        self._values = 0

    def value(self, at: int) -> tuple[Any, int]:
        """The value that begins there, and where it ends."""
        self._turn()
        first = self._text[at : at + 1]
        if first != "[" and first != "{":
            return _read_one(self._text, at)
        if (small := self._small(at)) is not None:
            return small
        self._nest(1)
        return self._list(at + 1) if first == "[" else self._object(at + 1)

    def _turn(self) -> None:
        self._values += 1
        if self._values % _PAUSE_AFTER == 0:
            time.sleep(0)

    def _nest(self, more: int) -> None:
        self._nests += more
        if self._nests > MAX_NESTS:
            raise TooManyNests

    def _small(self, at: int) -> tuple[Any, int] | None:
        """A list or object that ends soon."""
        piece = self._text[at : at + _SMALL]
        try:
            value, length = _read_one(piece)
        except (ValueError, RecursionError):
            return None
        brackets = piece.count("[", 0, length) + piece.count("{", 0, length)  # those in texts too
        self._nest(_nests(value) if brackets > 1 else 1)
        return value, at + length

    def _flat(self, at: int, brackets: str) -> tuple[Any, int] | None:
        """The next values of a list, or pairs of an object, and the place of the comma or bracket after them. None
        where they are not seen to be flat: whoever asks then takes the next one by itself."""
        text, limit = self._text, at + _PIECE
        end = text.find(brackets[1], at, limit)
        if end < 0:
            end = text.rfind(",", at, limit)
        piece = text[at:end] if end > at else ""
        if "[" in piece or "{" in piece or not piece.strip():
            return None
        time.sleep(0)
        try:
            # It is read as it would be in its place: what was cut within a value has no end here, and fails.
            return json.loads(f"{brackets[0]}{piece}{brackets[1]}"), end
        except ValueError:
            return None

    def _list(self, at: int) -> tuple[list[Any], int]:
        text, items, tries = self._text, list[Any](), 0
        at = _skip(text, at)
        if text[at : at + 1] == "]":
            return items, at + 1
        while True:
            flat = self._flat(at, "[]") if tries == 0 else None
            if flat is not None:
                items += flat[0]
                at = flat[1]
            else:
                tries = (tries or _PAUSE_AFTER) - 1
                item, at = self.value(at)
                items.append(item)
                at = _skip(text, at)
            at, ended = self._past(at, "]")
            if ended:
                return items, at

    def _object(self, at: int) -> tuple[dict[str, Any], int]:
        text, pairs, tries = self._text, dict[str, Any](), 0
        at = _skip(text, at)
        if text[at : at + 1] == "}":
            return pairs, at + 1
        while True:
            flat = self._flat(at, "{}") if tries == 0 else None
            if flat is not None:
                pairs |= flat[0]
                at = flat[1]
            else:
                tries = (tries or _PAUSE_AFTER) - 1
                key, at = self._key(at)
                pairs[key], at = self.value(at)
                at = _skip(text, at)
            at, ended = self._past(at, "}")
            if ended:
                return pairs, at

    def _past(self, at: int, closing: str) -> tuple[int, bool]:
        """Past the comma or the closing bracket, and whether it was that."""
        mark = self._text[at : at + 1]
        if mark == closing:
            return at + 1, True
        if mark != ",":
            raise json.JSONDecodeError("Expecting ',' delimiter", self._text, at)
        return _skip(self._text, at + 1), False

    def _key(self, at: int) -> tuple[str, int]:
        """A pair's name, and where its value begins."""
        text = self._text
        if text[at : at + 1] != '"':
            raise json.JSONDecodeError("Expecting property name enclosed in double quotes", text, at)
        key, at = _read_one(text, at)
        at = _skip(text, at)
        if text[at : at + 1] != ":":
            raise json.JSONDecodeError("Expecting ':' delimiter", text, at)
        return key, _skip(text, at + 1)


def _nests(value: object) -> int:
    """Lists and objects, itself included."""
    if isinstance(value, dict):
        return 1 + sum(_nests(each) for each in value.values() if isinstance(each, list | dict))
    if isinstance(value, list):
        return 1 + sum(_nests(each) for each in value if isinstance(each, list | dict))
    return 0
