"""Regular expressions from strangers, matched as PEFT matches them but within a time limit.

A crafted expression can take exponential time, and the standard library's `re` can neither be stopped nor releases the
interpreter's lock while it runs; `regex` does both.
"""

import time
from functools import lru_cache

import regex

from chorus_adapter_store.errors import InvalidArgument
from chorus_adapter_store.names import quote
from chorus_adapter_store.values import CONFIG_FILE


class Matcher:
    """Matches the expressions of one adapter, all within `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._compile = lru_cache(maxsize=None)(self._compiled)

    def whole(self, field: str, pattern: str, name: str) -> bool:
        """`pattern` matches all of `name`. Raises InvalidArgument for a bad or too slow pattern."""
        return self._matches(field, pattern, pattern, name)

    def ending(self, field: str, pattern: str, name: str) -> bool:
        """`pattern` matches `name`, or what follows one of its dots."""
        return self._matches(field, pattern, rf"(.*\.)?({pattern})$", name)

    def _matches(self, field: str, pattern: str, expression: str, name: str) -> bool:
        left = self._deadline - time.monotonic()
        try:
            if left <= 0:
                raise TimeoutError
            return self._compile(field, pattern, expression).fullmatch(name, timeout=left, concurrent=True) is not None
        except TimeoutError:
            raise InvalidArgument(
                CONFIG_FILE, f"{field} has {quote(pattern)}: matching took more than {self._seconds:g} s; simplify it"
            ) from None

    def _compiled(self, field: str, pattern: str, expression: str) -> "regex.Pattern[str]":
        try:
            return regex.compile(expression)
        except (regex.error, RecursionError, OverflowError) as error:
            raise InvalidArgument(
                CONFIG_FILE, f"{field} has {quote(pattern)}: not a regular expression ({quote(str(error))[1:-1]})"
            ) from None
