"""One validation process as its parent sees it."""

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress

from chorus_adapter_store.errors import Unavailable
from chorus_adapter_store.validate.wire import LENGTH_BYTES, Message, decode, decode_length, encode

_START_SECONDS = 30
_END_SECONDS = 1


class Died(Exception):
    """The process ended before it answered; the message says how."""


class Child:
    """Answers tasks one by one. Whoever made it calls `end`, also after a failure or a cancellation of `ask`."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self.answered = 0

    @classmethod
    async def start(cls, memory: int, seconds: float, environment: Mapping[str, str]) -> "Child":
        """`memory` in bytes; `seconds` of processor time a task. Raises Unavailable."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = _spawn(theirs, environment, str(memory), str(seconds))
            except OSError as error:
                ours.close()
                raise Unavailable(f"no process to check uploads can be started ({error.strerror or error})") from error
        child = cls(process, *await asyncio.open_connection(sock=ours))
        try:
            async with asyncio.timeout(_START_SECONDS):
                await child._receive()
        except (TimeoutError, Died, ValueError) as error:
            await child.end()
            cause = str(error) or "it took too long"
            raise Unavailable(f"the process that checks uploads did not start ({cause})") from error
        except BaseException:
            await child.end()
            raise
        return child

    async def ask(self, task: Message) -> Message:
        """Raises Died, or ValueError when the answer is none."""
        with suppress(ConnectionError):  # what there is to say of it, the missing answer says
            self._writer.write(encode(task))
            await self._writer.drain()
        answer = await self._receive()
        self.answered += 1
        return answer

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    async def end(self) -> None:
        self._process.kill()  # nothing, when it has ended
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()
        await asyncio.to_thread(self._process.wait)

    async def _receive(self) -> Message:
        try:
            length = decode_length(await self._reader.readexactly(LENGTH_BYTES))
            return decode(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            raise Died(await asyncio.to_thread(self._how)) from None

    def _how(self) -> str:
        try:
            status = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            return "it said no more"
        if status >= 0:
            return f"status {status}"
        try:
            return signal.Signals(-status).name
        except ValueError:
            return f"signal {-status}"


def _spawn(channel: socket.socket, environment: Mapping[str, str], *arguments: str) -> "subprocess.Popen[bytes]":
    """By the standard library, which runs nothing between fork and exec: uvloop's way runs gRPC's fork handlers there,
    and children have crashed in them. On the loop's own thread: a child ends with the thread that started it."""
    return subprocess.Popen(
        [sys.executable, "-m", "chorus_adapter_store.validate.process", *arguments],
        stdin=channel.fileno(),
        stdout=channel.fileno(),
        stderr=subprocess.DEVNULL,
        env={**environment, "OPENBLAS_NUM_THREADS": "1"},  # a thread's stack would count as memory
        start_new_session=True,  # Ctrl-C is for the store
    )
