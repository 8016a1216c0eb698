"""The loader: fetches, hashes, checks and converts adapters beside the engine, in a process of its own.

So the engine's Python has nothing to do for them, and its steps none of their time to wait for.
"""

import asyncio
import socket
import traceback
from collections.abc import AsyncGenerator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from itertools import count
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from chorus_engine.adapters.arena import Span
from chorus_engine.adapters.host import FileHead
from chorus_engine.adapters.intake import Damaged, Intake, NoRoom
from chorus_engine.adapters.loader import wire
from chorus_engine.adapters.loader.turns import Turns
from chorus_engine.adapters.region import Region
from chorus_engine.adapters.store import StoreClient
from chorus_engine.adapters.volume import VolumeReader
from chorus_engine.core.errors import AdapterError
from chorus_engine.core.spec import AdapterFootprint


class Source(Protocol):
    def fetch(self, digest: str, traceparent: str = "") -> AsyncGenerator[FileHead | bytes]: ...


async def serve(connection: socket.socket, region: Region) -> None:
    """Until the engine is gone."""
    reader, writer = await asyncio.open_unix_connection(sock=connection)
    hello = await wire.receive(reader)
    if isinstance(hello, wire.Hello):
        loader = Loader(hello, region, writer)
        loader.send(wire.Ready())
        while (message := await wire.receive(reader)) is not None:
            loader.take(message)


class Loader:
    def __init__(self, hello: wire.Hello, region: Region, writer: asyncio.StreamWriter) -> None:
        roots = None if hello.roots is None else hello.roots.encode()
        store = StoreClient(hello.store_address, hello.token, roots=roots)
        self._store = store
        self._volume = None if hello.volume is None else VolumeReader(Path(hello.volume), store)
        self._layout = hello.layout()
        self._region = region
        self._writer = writer
        # One operation of torch takes one core, and there is one operation at a time: the rest is the engine's.
        self._worker = ThreadPoolExecutor(1, "convert", initializer=partial(torch.set_num_threads, 1))
        self._turns = Turns()
        self._serials = count()
        self._rooms: dict[int, asyncio.Future[int]] = {}  # by wish
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, message: wire.Message) -> None:
        self._writer.write(wire.encode(message))

    def take(self, message: wire.Message) -> None:
        match message:
            case wire.Fetch():
                self._go(self._run(message))
            case wire.Hasten(number):
                self._turns.hasten(number)
            case wire.Room(serial, begin) if (room := self._rooms.get(serial)) is not None and not room.done():
                if begin is None:
                    room.set_exception(NoRoom())
                else:
                    room.set_result(begin)
            case wire.Ping():
                self._go(self._answer())

    def _go(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the loop keeps none
        task.add_done_callback(self._tasks.discard)

    async def _answer(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._worker, int)
        self.send(wire.Pong())

    async def _run(self, order: wire.Fetch) -> None:
        self.send(await self._end(order))

    async def _end(self, order: wire.Fetch) -> wire.Arrived | wire.Failed:
        number = order.number
        try:
            with self._turns.taking(number, urgent=order.urgent):
                await self._bring(order)
        except NoRoom:
            return wire.Failed(number, wire.REFUSED, "")
        except AdapterError as error:
            kind = next(kind for kind, error_type in wire.ERRORS.items() if isinstance(error, error_type))
            return wire.Failed(number, kind, str(error))
        except Exception as error:
            self.send(wire.Note(order.digest, traceback.format_exc()))
            return wire.Failed(number, "unavailable", f"adapter {order.digest} was not loaded: {type(error).__name__}.")
        return wire.Arrived(number)

    async def _bring(self, order: wire.Fetch) -> None:
        if self._volume is not None:
            try:
                await self._take(order, self._volume)
            except (OSError, Damaged) as error:
                self.send(wire.Note(order.digest, f"not as it should be on the volume, so it is fetched: {error}"))
            else:
                return
        await self._take(order, self._store)

    async def _take(self, order: wire.Fetch, source: Source) -> None:
        room = partial(self._room, order.number)
        intake = Intake(order.digest, self._layout, room, self._worker, max_bytes=self._region.size)
        parts = self._turns.pace(order.number, source.fetch(order.digest, order.traceparent))
        async with aclosing(parts):
            await intake.take(parts)

    async def _room(self, number: int, footprint: AdapterFootprint, size: int) -> Tensor:
        serial = next(self._serials)
        room = self._rooms[serial] = asyncio.get_running_loop().create_future()
        self.send(wire.Wish(number, serial, list(footprint.ranks), size))
        try:
            return self._region.view(Span(await room, size), self._layout.dtype)
        finally:
            del self._rooms[serial]
