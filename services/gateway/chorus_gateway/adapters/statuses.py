"""The status that a server really gave.

When a server ends a call that is still being written, grpc.aio sees a failed write beside the server's status, makes up
a status of its own for it, and keeps whichever came last.
"""

import asyncio
from typing import Any

import grpc
import grpc.aio

MADE_UP = (grpc.StatusCode.INTERNAL, "Internal error from Core")
PATIENCE = 1.0  # seconds for the server's status to come after a made-up one
POLL = 0.01

Status = tuple[grpc.StatusCode, str | None]


class StatusWatch:
    """Tells the server's status of one call from the one made up, whichever comes first."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._first: Status | None = None
        call.add_done_callback(self._note)  # called as the first of them is set

    async def final(self) -> Status:
        """Once the call has ended; the made-up one only where no other came."""
        if self._first not in (None, MADE_UP):
            return self._first
        for _ in range(int(PATIENCE / POLL)):
            status = await self._call.code(), await self._call.details()
            if status != MADE_UP:
                return status
            await asyncio.sleep(POLL)
        return MADE_UP

    def _note(self, call: Any) -> None:
        if self._first is None:
            self._first = _now(call.code()), _now(call.details())


def _now(answer: Any) -> Any:
    """The result of a coroutine that need not wait: later, the status may be another."""
    try:
        answer.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("a call that is done has its status")
