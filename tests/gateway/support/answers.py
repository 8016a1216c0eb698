"""Asks of the pipeline without HTTP."""

import asyncio
from typing import Any

from chorus_gateway.answer import Opening, Piece
from chorus_gateway.ask import Ask
from chorus_gateway.values import Sampling, Usage
from tests.gateway.support.gateway import KEY


def ask(request_id: str = "r", **fields: Any) -> Ask:
    defaults: dict[str, Any] = {
        "authorization": f"Bearer {KEY}",
        "model": "chorus-demo",
        "prompts": ("hello",),
        "sampling": Sampling(max_tokens=0),
        "max_tokens": 100,
    }
    return Ask(request_id, **(defaults | fields))


class Heard:
    """An Answer that keeps what it hears; `pause` makes it a slow client."""

    def __init__(self, pause: float = 0.0) -> None:
        self.opening: Opening | None = None
        self.pieces: list[Piece] = []
        self.usage: Usage | None = None
        self._pause = pause

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    @property
    def keeps_up(self) -> bool:
        return False

    @property
    def reached(self) -> bool:
        return bool(self.pieces)

    def begin(self, opening: Opening) -> None:
        self.opening = opening

    def write_now(self, piece: Piece) -> None:
        raise AssertionError("it does not keep up")

    async def write(self, piece: Piece) -> None:
        self.pieces.append(piece)
        await asyncio.sleep(self._pause)

    async def finish(self, usage: Usage) -> None:
        self.usage = usage


class Whole(Heard):
    """One that is sent at its end."""

    @property
    def reached(self) -> bool:
        return False
