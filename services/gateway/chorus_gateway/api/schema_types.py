"""Types of request fields that several routes share."""

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

MAX_STOPS = 4
MAX_SPECULATION = 16
_MAX_STOP_CHARACTERS = 1024
_MAX_BIASES = 1024
_MAX_LEVELS = 128  # of a value that is written again: what writes it takes a turn of the stack for each


def whole(text: str) -> str:
    """JSON can write halves of surrogate pairs, which are no text and cannot be encoded."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"is no valid unicode text: it has half of a surrogate pair at {error.start}") from error
    return text


def sound(value: object) -> object:
    """What Python reads as JSON may hold what is none, or halves of surrogate pairs, or nest too deep, and cannot be
    written again."""
    _check_levels(value)
    try:
        whole(json.dumps(value, allow_nan=False, ensure_ascii=False))
    except ValueError as error:
        if isinstance(error.__cause__, UnicodeEncodeError):
            raise
        raise ValueError("has a number that JSON does not have") from error
    return value


def _check_levels(value: object) -> None:
    level: list[object] = [value]
    for _ in range(_MAX_LEVELS):
        level = [part for whole in level if isinstance(whole, dict | list) for part in _parts(whole)]
        if not level:
            return
    raise ValueError(f"is nested too deeply: send it with at most {_MAX_LEVELS} levels")


def _parts(whole: dict[Any, Any] | list[Any]) -> Iterable[object]:
    return whole.values() if isinstance(whole, dict) else whole


def _stops(value: object) -> object:
    stops = [value] if isinstance(value, str) else value
    if stops is None:
        return []
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise ValueError("must be a string or a list of strings")
    if len(stops) > MAX_STOPS:
        raise ValueError(f"may have at most {MAX_STOPS} strings and has {len(stops)}")
    for stop in stops:
        whole(stop)
        if not 1 <= len(stop) <= _MAX_STOP_CHARACTERS:
            raise ValueError(f"each string must have 1 to {_MAX_STOP_CHARACTERS} characters, and one has {len(stop)}")
    return stops


def _biases(value: object) -> object:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or len(value) > _MAX_BIASES:
        raise ValueError(f"must be an object of at most {_MAX_BIASES} token ids with a number each")
    biases: dict[int, float] = {}
    for key, bias in value.items():
        if not isinstance(key, str) or not key.isascii() or not key.isdigit() or len(key) > 9:
            raise ValueError(f"{str(key)[:64]!r} is not a token id")
        if isinstance(bias, bool) or not isinstance(bias, int | float) or not -100 <= bias <= 100:
            raise ValueError(f"the bias of token {key} must be a number from -100 to 100")
        biases[int(key)] = float(bias)
    return biases


def _drafts(value: object) -> object:
    """As many as that; 0 is off, and None as the engine sees fit."""
    if value is None or value == "auto":
        return None
    if value == "off":
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_SPECULATION:
        raise ValueError(f"must be 'off', 'auto' or a whole number from 0 to {MAX_SPECULATION}")
    return value


Text = Annotated[str, AfterValidator(whole)]
JsonObject = Annotated[dict[str, Any], AfterValidator(sound)]
Json = Annotated[Any, AfterValidator(sound)]
Stops = Annotated[
    list[str],
    BeforeValidator(_stops),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "maxItems": MAX_STOPS},
                {"type": "null"},
            ]
        }
    ),
]
Biases = Annotated[
    dict[int, float],
    BeforeValidator(_biases),
    WithJsonSchema({"anyOf": [{"type": "object", "additionalProperties": {"type": "number"}}, {"type": "null"}]}),
]
Drafts = Annotated[
    int | None,
    BeforeValidator(_drafts),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "enum": ["off", "auto"]},
                {"type": "integer", "minimum": 0, "maximum": MAX_SPECULATION},
                {"type": "null"},
            ]
        }
    ),
]
TokenId = Annotated[int, Field(ge=0, lt=1 << 32)]
