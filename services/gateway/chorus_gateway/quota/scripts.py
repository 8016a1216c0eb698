"""Lua scripts in Redis, called together on one connection."""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from chorus_gateway.patience import patient

BATCH = 64  # calls that go out at once


@dataclass(frozen=True, slots=True)
class Script:
    source: str
    sha: str

    @classmethod
    def load(cls, *names: str) -> "Script":
        """Files of this package, one after the other."""
        return cls.of("\n".join(files("chorus_gateway.quota").joinpath(f"{name}.lua").read_text() for name in names))

    @classmethod
    def of(cls, source: str) -> "Script":
        return cls(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


@dataclass(slots=True)
class _Call:
    script: Script
    keys: Sequence[str]
    arguments: Sequence[str]
    result: "asyncio.Future[Any]"

    def packed(self, *, whole: bool) -> bytes:
        """EVALSHA, or EVAL with the `whole` script."""
        command = ("EVAL", self.script.source) if whole else ("EVALSHA", self.script.sha)
        parts = (*command, str(len(self.keys)), *self.keys, *self.arguments)
        encoded = [part.encode() for part in parts]
        return b"*%d\r\n" % len(encoded) + b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in encoded])

    def fail(self, error: Exception) -> None:
        if not self.result.done():
            self.result.set_exception(error)


class Scripts:
    """What is called while an answer is awaited goes out together after it: that costs a quarter of a call of redis-py
    each, and delays nothing while there is no load.

    An error that Redis answers is raised to its caller; one of the connection, to all who wait.
    """

    def __init__(self, redis: Redis, *, timeout: float = 0.1) -> None:
        """`timeout` in seconds, for one exchange."""
        self._pool: Any = redis.connection_pool
        self._timeout = timeout
        self._waiting: list[_Call] = []
        self._sender: asyncio.Task[None] | None = None
        self._connection: Any = None

    async def call(self, script: Script, keys: Sequence[str], arguments: Sequence[str]) -> Any:
        call = _Call(script, keys, arguments, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        if self._sender is None:
            self._sender = asyncio.create_task(self._send())
        return await call.result

    async def aclose(self) -> None:
        """Once nothing is called any more: gives the connection back."""
        if self._sender is not None:
            await asyncio.wait([self._sender])
        await self._drop(None)

    async def _send(self) -> None:
        batch: list[_Call] = []
        try:
            while self._waiting:
                # Before a batch is taken: what is called while the connection is made goes out with it.
                async with patient(self._timeout):
                    await self._connect()
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                async with patient(self._timeout):
                    await self._exchange(batch)
        except (RedisError, OSError) as error:  # a timeout is an OSError
            failure = RedisTimeoutError("no answer in time") if isinstance(error, TimeoutError) else error
            waiting, self._waiting = self._waiting, []
            await self._drop(failure)
            for call in (*batch, *waiting):
                call.fail(failure)
        finally:
            self._sender = None
            if self._waiting:
                self._sender = asyncio.create_task(self._send())

    async def _connect(self) -> None:
        if self._connection is not None and await self._connection.can_read():
            await self._drop(RedisConnectionError("closed by the server"))  # nothing is owed, so it has ended
        if self._connection is None:
            self._connection = await self._pool.get_connection()

    async def _exchange(self, batch: list[_Call]) -> None:
        unknown = await self._round(batch, whole=False)
        if unknown:
            await self._round(unknown, whole=True)

    async def _round(self, batch: list[_Call], *, whole: bool) -> list[_Call]:
        """Returns the calls of scripts that Redis does not know."""
        unknown: list[_Call] = []
        await self._connection.send_packed_command(b"".join([call.packed(whole=whole) for call in batch]))
        for call in batch:
            try:
                answer = await self._connection.read_response()
            except NoScriptError:
                unknown.append(call)
            except ResponseError as error:
                call.fail(error)
            else:
                if not call.result.done():
                    call.result.set_result(answer)
        return unknown

    async def _drop(self, error: Exception | None) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if error is not None:
            await connection.disconnect(nowait=True)
        await self._pool.release(connection)
