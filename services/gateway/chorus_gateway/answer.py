"""What a client is told, piece by piece, before `api` gives it OpenAI's shape."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from chorus_gateway.tools import CallPiece
from chorus_gateway.values import Band, ResolvedModel, Usage


class End(StrEnum):
    """Why a choice ended well. Anything else is an error, never an invented reason."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"


@dataclass(frozen=True, slots=True)
class TokenView:
    """A token as log probabilities show it. `data` is its bytes, which need not be whole characters."""

    text: str
    data: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenEntry:
    """One token. `offset` is where its text begins in the choice's text, in characters."""

    token: TokenView
    top: tuple[TokenView, ...]
    offset: int
    has_past: bool = True  # of a prompt's first token there is no log probability


@dataclass(slots=True)  # one a token: frozen ones take three times as long to make
class Piece:
    """News of one choice: what follows the text and calls it had, the tokens that begin in it, and its end if any."""

    index: int
    text: str
    tokens: tuple[TokenEntry, ...] = ()
    end: End | None = None
    calls: tuple[CallPiece, ...] = ()
    embedding: bytes = b""  # float32 values, little-endian; all that the choice is, with its end


@dataclass(frozen=True, slots=True)
class Opening:
    """What is known before the first token. `headers` are x-ratelimit-*."""

    request_id: str
    model: ResolvedModel
    band: Band
    created: int  # seconds since 1970
    headers: Mapping[str, str] = field(default_factory=dict)


class Answer(Protocol):
    """Where the pipeline writes: `begin` once, then each piece by `write` or `write_now`, then `finish` once if all
    ended well.

    Until the first piece the request may still end with an error that deserves a status of its own, so `begin` sends
    nothing.
    """

    @property
    def keeps_up(self) -> bool:
        """Whether a piece can be written now, without waiting for the client."""
        ...

    @property
    def reached(self) -> bool:
        """Whether the client has been sent any of what was written. What is sent whole is not before `finish`."""
        ...

    def begin(self, opening: Opening) -> None: ...

    def write_now(self, piece: Piece) -> None:
        """Only while it `keeps_up` and no `write` is under way."""
        ...

    async def write(self, piece: Piece) -> None: ...

    async def finish(self, usage: Usage) -> None: ...
