"""What a model wrote, parted into text and calls of tools."""

from typing import NamedTuple, Protocol

from chorus_gateway.tools import CallPiece


class Read(NamedTuple):
    text: str
    calls: tuple[CallPiece, ...] = ()


class CallReader(Protocol):
    """One answer's. Text is handed on as soon as it can be no call."""

    @property
    def called(self) -> int:
        """Calls that came to their end."""
        ...

    def feed(self, text: str) -> Read: ...

    def flush(self) -> Read:
        """What was held back, at the end of the text."""
        ...
