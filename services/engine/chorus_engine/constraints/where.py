"""Which part of a schema is at fault, where the compiler says only what."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

ATTEMPTS = 300  # compilations of parts, a fraction of a millisecond each
LONGEST = 200  # characters
_SHARED = ("$defs", "definitions", "$schema")  # what references and keywords of a part may need


def place_of(schema: Mapping[str, Any], reason: str, complaint: Callable[[dict[str, Any]], str]) -> str:
    """A JSON Pointer, "#" for the whole, to the smallest part with the same fault when it stands alone."""
    shared = {name: schema[name] for name in _SHARED if name in schema}
    path, left = "#", ATTEMPTS
    found: Any = schema
    while True:
        for step, part in _parts(found):
            if left <= 0 or len(path) > LONGEST:
                return path
            left -= 1
            if complaint({**shared, **part}) == reason:
                path, found = f"{path}/{step}", part
                break
        else:
            return path


def _parts(schema: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object directly below, also in a list or an object of a keyword's value."""
    for key, value in schema.items():
        if isinstance(value, dict):
            yield _escaped(key), value
            yield from ((f"{_escaped(key)}/{_escaped(name)}", part) for name, part in value.items() if _is_part(part))
        elif isinstance(value, list):
            yield from ((f"{_escaped(key)}/{index}", part) for index, part in enumerate(value) if _is_part(part))


def _is_part(value: object) -> bool:
    return isinstance(value, dict)


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
