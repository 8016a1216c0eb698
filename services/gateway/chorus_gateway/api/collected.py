"""An answer that is sent whole, once it is complete."""

from dataclasses import dataclass, field, replace

from chorus_gateway.answer import End, Opening, Piece, TokenEntry
from chorus_gateway.tools import CallPiece
from chorus_gateway.values import Usage


@dataclass(slots=True)
class CollectedChoice:
    index: int
    texts: list[str] = field(default_factory=list)
    tokens: list[TokenEntry] = field(default_factory=list)
    calls: list[CallPiece] = field(default_factory=list)  # whole
    end: End = End.STOP

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def add_call(self, piece: CallPiece) -> None:
        if piece.index == len(self.calls):
            self.calls.append(piece)
        else:
            known = self.calls[piece.index]
            self.calls[piece.index] = replace(known, arguments=known.arguments + piece.arguments)


class Collected:
    """The pipeline's Answer for requests that do not stream. `opening` and `usage` are there once all ended well."""

    opening: Opening
    usage: Usage

    def __init__(self) -> None:
        self._choices: dict[int, CollectedChoice] = {}

    @property
    def keeps_up(self) -> bool:
        return True

    @property
    def reached(self) -> bool:
        return False

    def begin(self, opening: Opening) -> None:
        self.opening = opening

    async def write(self, piece: Piece) -> None:
        self.write_now(piece)

    def write_now(self, piece: Piece) -> None:
        choice = self._choices.get(piece.index)
        if choice is None:
            choice = self._choices[piece.index] = CollectedChoice(piece.index)
        choice.texts.append(piece.text)
        choice.tokens.extend(piece.tokens)
        for call in piece.calls:
            choice.add_call(call)
        if piece.end is not None:
            choice.end = piece.end

    async def finish(self, usage: Usage) -> None:
        self.usage = usage

    def choices(self) -> list[CollectedChoice]:
        return [self._choices[index] for index in sorted(self._choices)]
