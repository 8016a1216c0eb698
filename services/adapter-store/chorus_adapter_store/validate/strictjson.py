"""JSON from strangers: one object, no key twice, bounded in entries and depth."""

import json
from collections import Counter
from typing import NoReturn

from chorus_adapter_store.errors import InvalidArgument
from chorus_adapter_store.names import quote

_MAX_DEPTH = 8


def parse_object(field: str, data: bytes, *, max_entries: int) -> dict[str, object]:
    """The JSON object in `data`; no object in it has more than `max_entries` entries. Raises InvalidArgument."""

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len(pairs) > max_entries:
            raise InvalidArgument(field, f"an object has {len(pairs)} entries, more than the {max_entries} allowed")
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
            raise InvalidArgument(field, f"the key {quote(twice)} appears twice in one object")
        return found

    def constant(name: str) -> NoReturn:
        raise InvalidArgument(field, f"{name} is not JSON; write a finite number")

    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_constant=constant)
    except UnicodeDecodeError as error:
        raise InvalidArgument(field, f"the byte at {error.start} is not UTF-8") from None
    except RecursionError:
        raise InvalidArgument(field, f"objects are nested more than the {_MAX_DEPTH} levels allowed") from None
    except ValueError as error:
        raise InvalidArgument(field, f"not valid JSON ({quote(str(error))[1:-1]})") from None
    if not isinstance(value, dict):
        raise InvalidArgument(field, f"holds a JSON {_kind(value)}, not an object")
    _check_depth(field, value)
    return value


def _check_depth(field: str, value: object) -> None:
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [inner for outer in level for inner in _children(outer)]
        if not level:
            return
    raise InvalidArgument(field, f"objects are nested more than the {_MAX_DEPTH} levels allowed")


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _kind(value: object) -> str:
    names = {list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")
