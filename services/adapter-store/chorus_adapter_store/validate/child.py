"""One validation process as its parent sees it."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress

from chorus_adapter_store.errors import Unavailable
from chorus_adapter_store.validate.wire import LENGTH_BYTES, Message, decode, decode_length, encode

_START_SECONDS = 30
# The rest of the environment holds secrets, and a process that reads strangers' files has no use for them.
_ENVIRONMENT = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "PYTHONPATH")


class Died(Exception):
    """The process ended before it answered; the message says how."""


class Child:
    """Answers tasks one by one. Whoever made it calls `end`, also after a failure or a cancellation of `ask`."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.answered = 0

    @classmethod
    async def start(cls, memory: int, seconds: float) -> "Child":
        """`memory` in bytes; `seconds` of processor time a task. Raises Unavailable."""
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "chorus_adapter_store.validate.process", str(memory), str(seconds)),
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                env=_environment(),
                start_new_session=True,  # Ctrl-C is for the store
            )
        except OSError as error:
            raise Unavailable(f"no process to check uploads can be started ({error.strerror or error})") from error
        child = cls(process)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await child._receive()
        except (TimeoutError, Died, ValueError) as error:
            await child.end()
            cause = str(error) or "it took too long"
            raise Unavailable(f"the process that checks uploads did not start ({cause})") from error
        except BaseException:
            child.kill()
            raise
        return child

    async def ask(self, task: Message) -> Message:
        """Raises Died, or ValueError when the answer is none."""
        assert self._process.stdin is not None
        with suppress(ConnectionError):  # what there is to say of it, the missing answer says
            self._process.stdin.write(encode(task))
            await self._process.stdin.drain()
        answer = await self._receive()
        self.answered += 1
        return answer

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()

    async def end(self) -> None:
        self.kill()
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()

    async def _receive(self) -> Message:
        assert self._process.stdout is not None
        try:
            length = decode_length(await self._process.stdout.readexactly(LENGTH_BYTES))
            return decode(await self._process.stdout.readexactly(length))
        except asyncio.IncompleteReadError:
            raise Died(_how(await self._process.wait())) from None


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    return {**kept, "OPENBLAS_NUM_THREADS": "1"}  # a thread's stack would count as memory


def _how(status: int) -> str:
    if status >= 0:
        return f"status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
