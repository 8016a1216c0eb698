"""Lua scripts in Redis, called on one connection."""

import asyncio
import hashlib
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from chorus_gateway.patience import TICKS, patient
from chorus_gateway.replies import Replies

LAZY_SECONDS = 0.005  # for which a call that nobody waits for looks out for company


@dataclass(frozen=True, slots=True)
class Script:
    source: str
    sha: str

    @classmethod
    def load(cls, package: str, *names: str) -> "Script":
        """Files of a package, one after the other."""
        return cls.of("\n".join(files(package).joinpath(f"{name}.lua").read_text() for name in names))

    @classmethod
    def of(cls, source: str) -> "Script":
        return cls(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


@dataclass(slots=True, eq=False)
class _Call:
    script: Script
    keys: Sequence[str]
    arguments: Sequence[str]
    result: "asyncio.Future[Any]"

    def packed(self, *, whole: bool) -> bytes:
        """EVALSHA, or EVAL with the `whole` script."""
        command = ("EVAL", self.script.source) if whole else ("EVALSHA", self.script.sha)
        encoded = [part.encode() for part in (*command, str(len(self.keys)), *self.keys, *self.arguments)]
        return b"*%d\r\n" % len(encoded) + b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in encoded])

    def answer(self, reply: Any) -> None:
        if self.result.done():
            return  # nobody waits any more
        if isinstance(reply, RedisError):
            self.result.set_exception(reply)
        else:
            self.result.set_result(reply)


class _Line(asyncio.Protocol):
    """A connection of redis-py's, once it is made. What is called in one turn of the loop goes out together, and an
    answer is handed on in the turn in which it arrives: a call has no task, timer or lock of its own."""

    def __init__(self, connection: Any, timeout: float) -> None:
        self.connection = connection
        self.error: RedisError | None = None  # it has ended with
        self._transport: asyncio.Transport = connection._writer.transport
        self._before = self._transport.get_protocol()  # redis-py's, which waits for the end of its connection
        self._transport.set_protocol(self)
        self._timeout = timeout
        self._owed: deque[_Call] = deque()
        self._unsent: list[bytes] = []
        self._sending: asyncio.Handle | None = None  # is to send them
        self._lazily = False  # it need not be soon
        self._replies = Replies()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None  # while an answer is owed

    @property
    def owed(self) -> "list[asyncio.Future[Any]]":
        return [call.result for call in self._owed]

    def ask(self, call: _Call, *, whole: bool = False, lazily: bool = False) -> None:
        self._owed.append(call)
        self._unsent.append(call.packed(whole=whole))
        if self._sending is None:
            self._lazily = lazily
            self._sending = (
                self._loop.call_later(LAZY_SECONDS, self._send) if lazily else self._loop.call_soon(self._send)
            )
        elif self._lazily and not lazily:
            self._lazily = False
            self._sending.cancel()
            self._sending = self._loop.call_soon(self._send)

    def _send(self) -> None:
        self._sending = None
        if self._transport.is_closing():  # which connection_lost has yet to tell
            self.end(RedisConnectionError("closed by the server"))
            return
        unsent, self._unsent = self._unsent, []
        self._transport.write(b"".join(unsent))
        if self._timer is None:
            self._look_again(self._owed[0], TICKS)

    def data_received(self, data: bytes) -> None:
        try:
            for reply in self._replies.feed(data):
                self._take(reply)
        except (RedisError, ValueError, IndexError) as error:  # what is no answer, or one to no call
            self.end(error if isinstance(error, RedisError) else RedisConnectionError(f"not understood: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.end(RedisConnectionError("closed by the server"))
        self._before.connection_lost(exc)

    def end(self, error: RedisError) -> None:
        """Only the first call has an effect."""
        if self.error is not None:
            return
        self.error = error
        self._transport.close()
        for handle in (self._timer, self._sending):
            if handle is not None:
                handle.cancel()
        while self._owed:
            self._owed.popleft().answer(error)

    def _take(self, reply: Any) -> None:
        call = self._owed.popleft()
        if isinstance(reply, NoScriptError):
            self.ask(call, whole=True)
            return
        call.answer(reply)
        if isinstance(reply, RedisError) and not isinstance(reply, ResponseError):
            raise reply

    def _look_again(self, oldest: _Call, ticks: int) -> None:
        self._timer = self._loop.call_later(self._timeout / TICKS, self._look, oldest, ticks - 1)

    def _look(self, oldest: _Call, ticks: int) -> None:
        """Time passes in steps, between which the loop looks at its sockets: see `patient`."""
        self._timer = None
        if not self._owed:
            return
        if self._owed[0] is not oldest:
            self._look_again(self._owed[0], TICKS)
        elif ticks:
            self._look_again(oldest, ticks)
        else:
            self.end(RedisTimeoutError("no answer in time"))


class Scripts:
    """An error that Redis answers is raised to its caller; one of the connection, to all who wait. What is called later
    reaches Redis later, but for a script that Redis does not know yet."""

    def __init__(self, redis: Redis, *, timeout: float = 0.1) -> None:
        """`timeout` in seconds, for an answer."""
        self._pool: Any = redis.connection_pool
        self._timeout = timeout
        self._line: _Line | None = None
        self._waiting: list[_Call] = []  # for a connection
        self._connecting: asyncio.Task[None] | None = None

    def call(
        self, script: Script, keys: Sequence[str], arguments: Sequence[str], *, lazily: bool = False
    ) -> "asyncio.Future[Any]":
        """The answer. RedisError or OSError where there is none. `lazily`: it goes out with the next other call, or
        some milliseconds later."""
        call = _Call(script, keys, arguments, asyncio.get_running_loop().create_future())
        line = self._line
        if line is not None and line.error is None:
            line.ask(call, lazily=lazily)
        else:
            self._waiting.append(call)
            if self._connecting is None:
                self._connecting = asyncio.create_task(self._connect())
        return call.result

    async def aclose(self) -> None:
        """Once nothing is called any more: ends the connection."""
        if self._connecting is not None:
            await asyncio.wait([self._connecting])
        if self._line is not None:
            if owed := self._line.owed:
                await asyncio.wait(owed)
            await self._drop(self._line)

    async def _connect(self) -> None:
        try:
            async with patient(self._timeout):
                if self._line is not None:
                    await self._drop(self._line)
                line = self._line = _Line(await self._pool.get_connection(), self._timeout)
            waiting, self._waiting = self._waiting, []
            for call in waiting:
                line.ask(call)
        except Exception as error:
            failure = RedisTimeoutError("no answer in time") if isinstance(error, TimeoutError) else error
            waiting, self._waiting = self._waiting, []
            for call in waiting:
                if not call.result.done():
                    call.result.set_exception(failure)
        finally:
            self._connecting = None

    async def _drop(self, line: _Line) -> None:
        self._line = None
        line.end(RedisConnectionError("the gateway closes the connection"))
        with suppress(RedisError, OSError):
            await line.connection.disconnect(nowait=True)
        await self._pool.release(line.connection)
