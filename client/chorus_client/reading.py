"""JSON as values: a dataclass says by its fields what is read. What it does not name is left out; what has a default
may be missing, as from an older gateway."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeVar

from chorus_client.errors import UnexpectedAnswer

T = TypeVar("T")


def read(kind: type[T], data: Any) -> T:
    """UnexpectedAnswer when the data is of another shape."""
    try:
        value: T = _value(kind, data)
    except (ArithmeticError, KeyError, TypeError, ValueError) as error:
        raise UnexpectedAnswer(f"The answer is no {kind.__name__} as this client knows it: {error!r}.") from error
    return value


def read_list(kind: type[T], answer: Any) -> tuple[T, ...]:
    """The `data` of a listing."""
    if not isinstance(answer, Mapping) or not isinstance(answer.get("data"), list):
        raise UnexpectedAnswer(f"The answer is no list of {kind.__name__} as this client knows it.")
    return tuple(read(kind, each) for each in answer["data"])


def _value(hint: Any, data: Any) -> Any:
    if hint is Any:
        return data
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return None if data is None else _value(next(each for each in inner if each is not types.NoneType), data)
    if origin is tuple:
        return tuple(_value(inner[0], each) for each in data)
    if origin is Mapping:
        return {str(name): _value(inner[1], each) for name, each in data.items()}
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        told = [each.name for each in dataclasses.fields(hint) if each.name in data or _required(each)]
        return hint(**{name: _value(hints[name], data[name]) for name in told})  # type: ignore[operator]  # a class
    if hint is datetime:
        return datetime.fromtimestamp(data, UTC)
    return hint(data) if issubclass(hint, StrEnum | Decimal) else data


def _required(each: "dataclasses.Field[Any]") -> bool:
    return each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
