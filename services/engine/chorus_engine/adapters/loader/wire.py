"""What the engine and its loader say to each other: JSON with its length before it, over a pair of sockets."""

import asyncio
import json
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch

from chorus_engine.adapters.convert import Layout
from chorus_engine.core import errors
from chorus_engine.core.spec import LinearModule, ModelSpec

LENGTH_BYTES = 4
ERRORS: dict[str, type[errors.AdapterError]] = {
    "not_found": errors.AdapterNotFound,
    "unusable": errors.AdapterUnusable,
    "unavailable": errors.AdapterUnavailable,
}
REFUSED = "refused"  # the engine had no room


@dataclass(frozen=True, slots=True)
class Hello:
    """Engine, first: what the loader needs for all fetches. Secrets travel here, not in arguments or environment."""

    store_address: str
    token: str
    roots: str | None  # PEM of the CA; none is plain text
    volume: str | None  # the store's blob folder, if it can be read
    spec: dict[str, Any]
    dtype: str
    max_rank: int

    @classmethod
    def of(cls, layout: Layout, **fields: Any) -> "Hello":
        name = str(layout.dtype).removeprefix("torch.")
        return cls(spec=asdict(layout.spec), dtype=name, max_rank=layout.max_rank, **fields)

    def layout(self) -> Layout:
        given = dict(self.spec)
        for name in ("modules", "outer_modules"):
            given[name] = tuple(LinearModule(**module) for module in given[name])
        given["eos_token_ids"] = tuple(given["eos_token_ids"])
        return Layout(ModelSpec(**given), getattr(torch, self.dtype), self.max_rank)


@dataclass(frozen=True, slots=True)
class Fetch:
    """Engine. `number` names this attempt in what follows."""

    number: int
    digest: str
    traceparent: str
    urgent: bool  # a request waits for it


@dataclass(frozen=True, slots=True)
class Hasten:
    """Engine: a request waits by now."""

    number: int


@dataclass(frozen=True, slots=True)
class Room:
    """Engine: where in the region the adapter goes; None ends the fetch. `serial`: the wish's."""

    serial: int
    begin: int | None


@dataclass(frozen=True, slots=True)
class Ping:
    """Engine. The answer has been through all that the loader's work goes through."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Loader, once."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Loader: room for an adapter. A fetch that begins anew, from another source, has another wish: what it finds may
    have another size, and an answer to the first wish is none to the second."""

    number: int
    serial: int
    ranks: list[tuple[int, str, int]]
    bytes: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """Loader: the span holds the adapter."""

    number: int


@dataclass(frozen=True, slots=True)
class Failed:
    """Loader: the span is not written any more. `kind`: one of ERRORS, or REFUSED."""

    number: int
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Note:
    """Loader: a line for the engine's log."""

    digest: str
    message: str


@dataclass(frozen=True, slots=True)
class Pong:
    """Loader."""


Message = Hello | Fetch | Hasten | Room | Ping | Ready | Wish | Arrived | Failed | Note | Pong
_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Hello, Fetch, Hasten, Room, Ping, Ready, Wish, Arrived, Failed, Note, Pong)
}


def encode(message: Message) -> bytes:
    values = {field.name: getattr(message, field.name) for field in fields(message)}
    body = json.dumps([type(message).__name__, values]).encode()
    return len(body).to_bytes(LENGTH_BYTES, "little") + body


async def receive(reader: asyncio.StreamReader) -> Message | None:
    """The next message; None when the other side is gone."""
    try:
        length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "little")
        kind, values = json.loads(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    message: Message = _KINDS[kind](**values)
    return message
