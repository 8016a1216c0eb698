"""The lines of a batch that have no answer yet, asked side by side."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

from chorus_gateway.batches.asking import Answered, Asks
from chorus_gateway.batches.gate import Gate
from chorus_gateway.batches.lines import Line, parse, split
from chorus_gateway.batches.patience import wait_before_retry
from chorus_gateway.batches.places import Places
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
    """`concurrency`: lines of one batch that run at once. `max_bytes` of a line. `most_bytes` of those that run, unless
    one alone has more."""

    concurrency: int = 32
    max_bytes: int = 8 << 20
    most_bytes: int = 8 << 20


class Answering:
    """Of one batch. What it was cancelled in the middle of is asked anew by whoever takes over."""

    def __init__(
        self,
        batch: Batch,
        files: FileStore,
        asks: Asks,
        recorder: Recorder,
        rules: LineRules,
        turn_over: asyncio.Event,
    ) -> None:
        """Once `turn_over` is set, lines that run are waited for, as they would be computed twice, and no more begin;
        only the first does, so that each turn brings the batch further."""
        self._batch = batch
        self._files = files
        self._asks = asks
        self._recorder = recorder
        self._rules = rules
        self._gate = Gate(rules.concurrency)
        self._turn_over = turn_over
        self._asked = False  # anything

    async def ask_all(self, done: set[int]) -> None:
        """All but those that are `done`, or as many as are asked until the turn is over."""
        places = Places(self._rules.concurrency, self._rules.most_bytes)  # which bound the lines that are in memory
        async with asyncio.TaskGroup() as group:
            async for number, text in self._texts(done):
                await places.take(len(text))
                group.create_task(self._ask(number, text)).add_done_callback(partial(places.leave, len(text)))
                if self._over:
                    return

    async def give_up(self, done: set[int], code: str, message: str) -> None:
        """Says of all but those that are `done` why they were not executed."""
        async for number, text in self._texts(done):
            await self._recorder.add(not_executed(self._line(number, text), code, message))

    async def _texts(self, done: set[int]) -> AsyncIterator[tuple[int, bytes]]:
        file = await self._files.stored(self._batch.wanted.input_file_id)
        async for number, text in split(self._chunks(file), self._rules.max_bytes):
            if number not in done:
                yield number, text

    def _line(self, number: int, text: bytes) -> Line:
        line = parse(number, text, self._batch.wanted.endpoint, len(text))
        assert isinstance(line, Line)  # it was validated, and files never change
        return line

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

    async def _ask(self, number: int, text: bytes) -> None:
        answer = await self._answer(number, text)
        if answer is not None:
            await self._recorder.add(answered(self._line(number, text), answer))

    @property
    def _over(self) -> bool:
        return self._asked and self._turn_over.is_set()

    async def _answer(self, number: int, text: bytes) -> Answered | None:
        """The first that is final; None where there is none when the turn is over."""
        tries = 0
        while True:
            async with self._gate.passed():
                if self._over:
                    return None
                self._asked = True
                answer = await self._try(number, text)
            tries += 1
            wait = wait_before_retry(answer, tries)
            if wait is None:
                self._gate.let_through()
                return answer
            if answer.status == 429:
                self._gate.refused(wait)
            await asyncio.sleep(wait * random.uniform(1, 1 + JITTER))  # noqa: S311 - no secret

    async def _try(self, number: int, text: bytes) -> Answered:
        """Only the line's text is kept while it runs: parsed it may take twenty times as much."""
        line = self._line(number, text)
        if line.body.get("stream"):
            return refused(STREAMED)
        asking = self._asks.ask(self._batch.wanted.endpoint, line.body, self._batch.key)
        del line
        return await asking
