"""Regular expressions from strangers, matched as PEFT matches them.

A crafted expression can take exponential time, and the standard library's `re` can neither be stopped nor releases the
interpreter's lock while it runs. Expressions for targets are matched here alone, by `regex`, which does both. Keys of
rank_pattern and alpha_pattern are matched again by engines, so they are held to a form that cannot backtrack far; it is
no wider than what engines accept.
"""

import re
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import regex

from chorus_adapter_store.errors import InvalidArgument
from chorus_adapter_store.names import quote
from chorus_adapter_store.values import CONFIG_FILE

_ITEM = r"(?:[A-Za-z0-9_\-.]|\\\.|\\d)"
_KEY = re.compile(rf"\^?{_ITEM}(?:{_ITEM}|(?<![*+])[*+])*\$?")
_MAX_KEY_LENGTH = 200
_MAX_REPETITIONS = 2


class Matcher:
    """Matches the expressions of one adapter, all within `seconds`. Its methods raise InvalidArgument."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._expression = lru_cache(maxsize=None)(_compile_expression)
        self._key = lru_cache(maxsize=None)(_compile_key)

    def whole(self, field: str, pattern: str, name: str) -> bool:
        """The regular expression `pattern` matches all of `name`."""
        compiled = self._expression(field, pattern)
        return self._timed(field, pattern, lambda left: compiled.fullmatch(name, timeout=left, concurrent=True))

    def ending(self, field: str, key: str, name: str) -> bool:
        """`key` of a pattern matches `name`, or what follows one of its dots."""
        compiled = self._key(field, key)
        return self._timed(field, key, lambda _: compiled.match(name))

    def _timed(self, field: str, pattern: str, match: Callable[[float], object | None]) -> bool:
        left = self._deadline - time.monotonic()
        try:
            if left <= 0:
                raise TimeoutError
            return match(left) is not None
        except TimeoutError:
            raise _wrong(field, pattern, f"matching took more than {self._seconds:g} s; simplify it") from None


def _compile_expression(field: str, pattern: str) -> Any:
    try:
        return regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError) as error:
        raise _wrong(field, pattern, f"not a regular expression ({quote(str(error))[1:-1]})") from None


def _compile_key(field: str, key: str) -> re.Pattern[str]:
    repetitions = key.count("*") + key.count("+")
    if len(key) > _MAX_KEY_LENGTH or repetitions > _MAX_REPETITIONS or not _KEY.fullmatch(key):
        raise _wrong(
            field,
            key,
            f"keys are module names of at most {_MAX_KEY_LENGTH} characters, in which '.', '\\d' and at most "
            f"{_MAX_REPETITIONS} of '*' or '+' may stand for more than one module",
        )
    return re.compile(rf"(.*\.)?({key})$")


def _wrong(field: str, pattern: str, message: str) -> InvalidArgument:
    return InvalidArgument(CONFIG_FILE, f"{field} has {quote(pattern)}: {message}")
