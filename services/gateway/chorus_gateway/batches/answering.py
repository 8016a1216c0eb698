"""The lines of a batch that have no answer yet, asked side by side."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass

from chorus_gateway.batches.asking import Answered, Asks
from chorus_gateway.batches.gate import Gate
from chorus_gateway.batches.lines import Line, parse, split
from chorus_gateway.batches.patience import wait_before_retry
from chorus_gateway.batches.recorder import Recorder
from chorus_gateway.batches.shapes import answered, not_executed, refused
from chorus_gateway.batches.values import Batch
from chorus_gateway.errors import Unavailable
from chorus_gateway.files import File, FileStore

RETRY = 1.0  # seconds while the database is away
JITTER = 0.25  # of a wait: lines that were refused together do not come back together
STREAMED = {
    "error": {
        "message": "stream: a batch's answers are not streamed; leave it out.",
        "type": "invalid_request_error",
        "param": "stream",
        "code": None,
    }
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LineRules:
    """`concurrency`: lines of one batch that run at once. `max_bytes` of a line."""

    concurrency: int = 32
    max_bytes: int = 8 << 20


class Answering:
    """Of one batch. What it was cancelled in the middle of is asked anew by whoever takes over."""

    def __init__(self, batch: Batch, files: FileStore, asks: Asks, recorder: Recorder, rules: LineRules) -> None:
        self._batch = batch
        self._files = files
        self._asks = asks
        self._recorder = recorder
        self._rules = rules
        self._gate = Gate(rules.concurrency)

    async def ask_all(self, done: set[int]) -> None:
        """All but those that are `done`."""
        places = asyncio.Semaphore(self._rules.concurrency)  # which bounds the lines that are in memory
        async with asyncio.TaskGroup() as group:
            async for line in self._lines(done):
                await places.acquire()
                group.create_task(self._ask(line)).add_done_callback(lambda _: places.release())

    async def give_up(self, done: set[int], code: str, message: str) -> None:
        """Says of all but those that are `done` why they were not executed."""
        async for line in self._lines(done):
            await self._recorder.add(not_executed(line, code, message))

    async def _lines(self, done: set[int]) -> AsyncIterator[Line]:
        file = await self._files.stored(self._batch.wanted.input_file_id)
        limit = self._rules.max_bytes
        async for number, text in split(self._chunks(file), limit):
            if number not in done:
                line = parse(number, text, self._batch.wanted.endpoint, limit)
                assert isinstance(line, Line)  # it was validated, and files never change
                yield line

    async def _chunks(self, file: File) -> AsyncIterator[bytes]:
        """Lines that run are not given up because the database is away for a moment."""
        read, seq = 0, 0
        while read < file.bytes:
            try:
                data = await self._files.chunk(file, seq)
            except Unavailable as error:
                log.warning("a batch's input waits for the database", extra={"reason": error.message})
                await asyncio.sleep(RETRY)
                continue
            yield data
            read, seq = read + len(data), seq + 1

    async def _ask(self, line: Line) -> None:
        await self._recorder.add(answered(line, await self._answer(line)))

    async def _answer(self, line: Line) -> Answered:
        """The first that is final."""
        if line.body.get("stream"):
            return refused(line, STREAMED)
        tries = 0
        while True:
            async with self._gate.passed():
                answer = await self._asks.ask(self._batch.wanted.endpoint, line.body, self._batch.key)
            tries += 1
            wait = wait_before_retry(answer, tries)
            if wait is None:
                self._gate.let_through()
                return answer
            if answer.status == 429:
                self._gate.refused(wait)
            await asyncio.sleep(wait * random.uniform(1, 1 + JITTER))  # noqa: S311 - no secret
