"""The calls of one choice, and what they make of its end."""

from chorus_gateway.answer import End
from chorus_gateway.text.tools.reader import CallReader
from chorus_gateway.tools import CallPiece


class ChoiceCalls:
    """`parallel`: the choice goes on after its first call."""

    def __init__(self, reader: CallReader, *, parallel: bool) -> None:
        self.parallel = parallel
        self._reader = reader

    def read(self, written: str, end: End | None) -> tuple[str, tuple[CallPiece, ...], End | None]:
        """(text, calls, end) of what was written last."""
        text, calls = self._reader.feed(written)
        called = self._reader.called
        if called and not self.parallel:
            # What follows in the same piece was read already, and is nothing that anybody asked for.
            first = tuple(call for call in calls if call.index == 0)
            return text[: first[-1].at if first else 0], first, End.TOOL_CALLS
        if end is not None:
            rest, last = self._reader.flush()
            text, calls = text + rest, calls + last
        return text, calls, End.TOOL_CALLS if end is End.STOP and called else end
