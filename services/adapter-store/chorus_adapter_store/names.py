"""What names may look like, and how they are quoted in messages."""

import re

from chorus_adapter_store.errors import InvalidArgument

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_RULE = "1 to 64 of a-z 0-9 . _ -, beginning with a letter or digit"
_QUOTED = 80  # characters of a value that a message repeats


def quote(value: object) -> str:
    """The value as ASCII and short, safe in a message or a log line whatever a client sent."""
    text = ascii(value)
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}…"


def is_name(value: str) -> bool:
    return _NAME.fullmatch(value) is not None


def checked_name(field: str, value: str) -> str:
    """`value` itself if it is a name. Raises InvalidArgument."""
    if not is_name(value):
        raise InvalidArgument(field, f"{quote(value)} is not a name: use {_RULE}")
    return value


def checked_alias(field: str, value: str) -> str:
    """`value` itself if it is an alias: a name that cannot be taken for a generation number."""
    if value.isdigit():
        raise InvalidArgument(field, f"{quote(value)} is all digits, which would read as a generation number")
    return checked_name(field, value)
