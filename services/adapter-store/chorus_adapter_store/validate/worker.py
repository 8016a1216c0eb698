"""Where validation runs: in processes of their own, bounded in number, memory and time.

A file that a check cannot survive costs one process and refuses one upload.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from chorus_adapter_store.errors import InvalidArgument, Unavailable
from chorus_adapter_store.uninterrupted import uninterrupted
from chorus_adapter_store.validate.child import Child, Died
from chorus_adapter_store.validate.limits import Limits
from chorus_adapter_store.validate.wire import OUT_OF_MEMORY, Message, facts, task
from chorus_adapter_store.values import AdapterFacts, BaseSpec

_GIB = 1 << 30
_ANSWERS = 1000  # of one process: what a library leaks is given back
_ADVICE = "save the adapter anew, or ask an administrator"
_log = logging.getLogger(__name__)


class Validator(Protocol):
    async def validate(self, config: Path, weights: Path, base: BaseSpec) -> AdapterFacts:
        """As `check_adapter`, but a failing disk raises Unavailable."""
        ...


class ProcessValidator:
    def __init__(
        self, limits: Limits, *, parallel: int, memory: int, seconds: float, environment: Mapping[str, str]
    ) -> None:
        """At most `parallel` uploads at once, each within `memory` bytes and `seconds`. `environment`: the processes',
        without secrets."""
        self._limits = limits
        self._memory = memory
        self._seconds = seconds
        self._environment = environment
        self._places = asyncio.Semaphore(parallel)
        self._idle: list[Child] = []

    async def warm(self) -> None:
        """Have one process ready, so that the first upload need not wait for its start."""
        async with self._places:
            if not self._idle:
                with suppress(Unavailable):  # that upload will tell
                    self._idle.append(await self._start())

    async def validate(self, config: Path, weights: Path, base: BaseSpec) -> AdapterFacts:
        asked = task(config, weights, base, self._limits)
        async with self._places:
            try:
                return facts(await self._answer(asked))
            except OSError as error:
                raise Unavailable(f"the store's disk failed ({error}); try again later") from error

    async def close(self) -> None:
        """Nothing may be validated after."""
        while self._idle:
            await self._idle.pop().end()

    async def _answer(self, asked: Message) -> Message:
        try:
            return await self._ask(await self._take(), asked)
        except Died as died:
            # Of something else, perhaps: another process tells.
            _log.warning("a process that checks uploads died (%s); its upload is checked again", died)
        try:
            return await self._ask(await self._take(), asked)
        except Died as died:
            raise _refused(f"the process that checks uploads died of this one, twice ({died}); {_ADVICE}") from died

    async def _ask(self, child: Child, asked: Message) -> Message:
        """The child is idle again after, or it has ended."""
        kept = False
        try:
            async with asyncio.timeout(self._seconds):
                answer = await child.ask(asked)
            if answer == OUT_OF_MEMORY:
                limit = f"the {self._memory / _GIB:g} GiB of CHORUS_STORE_VALIDATION_MEMORY"
                raise _refused(f"checking it took more than {limit}; {_ADVICE}")
            kept = child.answered < _ANSWERS
            return answer
        except TimeoutError:
            limit = f"the {self._seconds:g} s of CHORUS_STORE_VALIDATION_TIMEOUT"
            raise _refused(f"checking it took more than {limit}; {_ADVICE}") from None
        except ValueError as error:
            raise Died(str(error)) from error
        finally:
            if kept:
                self._idle.append(child)
            else:
                await uninterrupted(child.end())

    async def _take(self) -> Child:
        while self._idle:
            child = self._idle.pop()
            if child.alive:
                return child
            await child.end()
        return await self._start()

    async def _start(self) -> Child:
        return await Child.start(self._memory, self._seconds, self._environment)


def _refused(message: str) -> InvalidArgument:
    return InvalidArgument("upload", message)
