"""Bodies that would take long to read: beside the event loop, one after the other."""

import asyncio
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from chorus_gateway.api.errors import invalid, unreadable
from chorus_gateway.api.json_in_turns import MAX_NESTS, TooManyNests, read_in_turns
from chorus_gateway.errors import InvalidRequest

_SMALL_BYTES: Final = 64 << 10
_LARGE_BYTES: Final = 1 << 20
_FEW_MARKS: Final = 20_000  # commas and brackets; as many values are read in about two milliseconds


def is_dear(content: bytes) -> bool:
    """Whether reading it would keep other requests waiting. Long texts are read in no time, many values are not."""
    if not _SMALL_BYTES <= len(content) <= _LARGE_BYTES:
        return len(content) > _LARGE_BYTES
    return sum(content.count(mark) for mark in b",[{") > _FEW_MARKS


class LargeBodies:
    """Reads one at a time: none is in a hurry, and read they take many times as much memory."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="large-bodies")

    async def read(self, schema: type[BaseModel], content: bytes) -> BaseModel:
        """InvalidRequest, worded as of any other body."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, _read, schema, content)


def _read(schema: type[BaseModel], content: bytes) -> BaseModel:
    try:
        return schema.model_validate(read_in_turns(content))
    except ValidationError as error:
        first: Mapping[str, Any] = error.errors(include_url=False)[0]
        raise invalid([{**first, "loc": ("body", *first["loc"])}]) from None
    except json.JSONDecodeError as error:
        told = {"type": "json_invalid", "loc": ("body", error.pos), "ctx": {"error": error.msg}}
        raise invalid([told]) from None
    except TooManyNests:
        raise InvalidRequest(f"The body's JSON has more than {MAX_NESTS} lists and objects: send fewer.") from None
    except (ValueError, RecursionError) as error:
        raise unreadable(error) from None
