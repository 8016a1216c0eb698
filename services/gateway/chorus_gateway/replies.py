"""Redis's answers (RESP2) out of the bytes that it sends, however they are cut."""

from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError

_STATUS, _ERROR, _INTEGER, _BULK, _ARRAY = b"+-:$*"
_ELSEWHERE = ("LOADING", "READONLY", "NOAUTH")  # another connection may go better


class Replies:
    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> list[Any]:
        """What is whole now: texts, numbers, lists, None, and errors as values. RedisError for what is no answer."""
        self._data += data
        found: list[Any] = []
        at = 0
        while (read := _read(self._data, at)) is not None:
            reply, at = read
            found.append(reply)
        self._data = self._data[at:]
        return found


def _read(data: bytes, at: int) -> tuple[Any, int] | None:
    """The answer that begins there, and where the next one does; None while it is not whole."""
    stop = data.find(b"\r\n", at)
    if stop < 0:
        return None
    kind, text, at = data[at], data[at + 1 : stop], stop + 2
    if kind == _BULK:
        length = int(text)
        if length < 0:
            return None, at
        end = at + length
        return (data[at:end].decode(), end + 2) if len(data) >= end + 2 else None
    if kind == _INTEGER:
        return int(text), at
    if kind == _STATUS:
        return text.decode(), at
    if kind == _ERROR:
        return _error(text.decode()), at
    if kind == _ARRAY:
        return _read_list(data, at, int(text))
    raise RedisConnectionError(f"Redis answered what is no answer: {data[at : at + 40]!r}")


def _read_list(data: bytes, at: int, count: int) -> tuple[list[Any], int] | None:
    items: list[Any] = []
    for _ in range(count):
        read = _read(data, at)
        if read is None:
            return None
        item, at = read
        items.append(item)
    return items, at


def _error(text: str) -> RedisError:
    code, _, rest = text.partition(" ")
    if code == "NOSCRIPT":
        return NoScriptError(rest)
    return RedisConnectionError(text) if code in _ELSEWHERE else ResponseError(text)
