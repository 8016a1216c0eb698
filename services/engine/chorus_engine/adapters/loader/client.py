"""The loader, as the engine's event loop sees it."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count

from chorus_engine.adapters.loader import wire
from chorus_engine.adapters.loader.process import LoaderProcess
from chorus_engine.core.errors import AdapterError, AdapterUnavailable
from chorus_engine.core.spec import AdapterFootprint

log = logging.getLogger(__name__)

START_SECONDS = 120.0  # until it is ready
PING_INTERVAL = 1.0  # seconds, while something is fetched
HUNG_SECONDS = 10.0  # without an answer
SHORT_LIFE = 10.0  # seconds; what ends sooner is not started again at once
RESTART_DELAY = 2.0

# From what an adapter is and its bytes to where it goes in the region. Raises AdapterError when it may not come.
Room = Callable[[AdapterFootprint, int], Awaitable[int]]


class Refused(Exception):
    """The engine had no room; `error` says why. Another attempt would not help."""

    def __init__(self, error: AdapterError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(slots=True, eq=False)
class _Flight:
    digest: str
    room: Room
    end: "asyncio.Future[None]"
    answer: "asyncio.Task[None] | None" = None
    refusal: AdapterError | None = None


@dataclass(slots=True, eq=False)
class _Life:
    """Of one process."""

    writer: asyncio.StreamWriter
    heard: asyncio.Event = field(default_factory=asyncio.Event)


class LoaderClient:
    """Keeps a loader running: one that ends or hangs is started again, and what it was at is Unavailable."""

    def __init__(self, first: LoaderProcess, start: Callable[[], LoaderProcess], hello: wire.Hello) -> None:
        self._process = first
        self._start = start
        self._hello = hello
        self._life: _Life | None = None
        self._alive = asyncio.Event()
        self._ready = asyncio.Event()  # a process has been
        self._busy = asyncio.Event()  # something is fetched
        self._numbers = count()
        self._flights: dict[int, _Flight] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            began = time.monotonic()
            try:
                why = await self._live()
            finally:
                status = await asyncio.shield(asyncio.to_thread(self._process.end))
                self._lose()
            lived = time.monotonic() - began
            log.warning(
                "the adapter loader is started again",
                extra={"reason": why, "status": status, "lived": round(lived, 1), "fetches": len(self._flights)},
            )
            if lived < SHORT_LIFE:
                await asyncio.sleep(RESTART_DELAY)
            await self._start_again()

    async def ready(self) -> None:
        """Returns once a process has started and takes orders."""
        await self._ready.wait()

    async def load(self, digest: str, traceparent: str, *, urgent: bool, room: Room) -> None:
        """Bring an adapter to where `room` says. Nothing is written there any more when this has ended.

        Raises AdapterError, of which AdapterUnavailable is worth another attempt, or Refused.
        """
        await self._alive.wait()
        number = next(self._numbers)
        flight = self._flights[number] = _Flight(digest, room, asyncio.get_running_loop().create_future())
        self._busy.set()
        self._send(wire.Fetch(number, digest, traceparent, urgent))
        try:
            await flight.end
        finally:
            del self._flights[number]
            if not self._flights:
                self._busy.clear()
            if flight.answer is not None:
                flight.answer.cancel()

    def hasten(self, digest: str) -> None:
        """A request waits for what was begun without one."""
        for number, flight in self._flights.items():
            if flight.digest == digest:
                self._send(wire.Hasten(number))

    # ---------------------------------------------------------------- one process

    async def _live(self) -> str:
        """Talk to the process; why that came to an end."""
        reader, writer = await asyncio.open_unix_connection(sock=self._process.socket)
        life = self._life = _Life(writer)
        self._send(self._hello)
        self._alive.set()
        watch = asyncio.create_task(self._watch(life))
        listen = asyncio.create_task(self._listen(reader, life))
        try:
            done, _ = await asyncio.wait((watch, listen), return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        except Exception as error:  # what it says makes no sense: it is not the loader that this engine started with
            log.exception("the adapter loader cannot be understood")
            return repr(error)
        finally:
            for task in (watch, listen):
                task.cancel()
            await asyncio.gather(watch, listen, return_exceptions=True)
            writer.close()

    async def _start_again(self) -> None:
        while True:
            try:
                self._process = await asyncio.to_thread(self._start)
            except OSError as error:  # too many processes, or no memory
                log.warning("the adapter loader does not start", extra={"error": str(error)})
                await asyncio.sleep(RESTART_DELAY)
            else:
                return

    async def _listen(self, reader: asyncio.StreamReader, life: _Life) -> str:
        while (message := await wire.receive(reader)) is not None:
            self._take(message, life)
        return "it ended"

    async def _watch(self, life: _Life) -> str:
        """Ends when the process hangs. It is asked only while it has work, so an idle engine does nothing."""
        allowed = START_SECONDS
        while True:
            try:
                async with asyncio.timeout(allowed):
                    await life.heard.wait()
            except TimeoutError:
                return f"it did not answer for {allowed:g} s"
            await asyncio.sleep(PING_INTERVAL)
            await self._busy.wait()
            life.heard.clear()
            self._send(wire.Ping())
            allowed = HUNG_SECONDS

    def _take(self, message: wire.Message, life: _Life) -> None:
        match message:
            case wire.Ready() | wire.Pong():
                self._ready.set()
                life.heard.set()
            case wire.Wish(number) if (flight := self._flights.get(number)) is not None:
                if flight.answer is not None:  # of a wish that the loader has given up
                    flight.answer.cancel()
                flight.answer = asyncio.create_task(self._find_room(flight, message))
            case wire.Arrived(number) if (flight := self._flights.get(number)) is not None and not flight.end.done():
                flight.end.set_result(None)
            case wire.Failed(number) if (flight := self._flights.get(number)) is not None and not flight.end.done():
                flight.end.set_exception(_failure(flight, message))
            case wire.Note(digest, text):
                log.warning("adapter loader", extra={"digest": digest, "note": text})

    async def _find_room(self, flight: _Flight, wish: wire.Wish) -> None:
        ranks = tuple((layer, path, rank) for layer, path, rank in wish.ranks)
        try:
            begin = await flight.room(AdapterFootprint(flight.digest, ranks, wish.bytes), wish.bytes)
        except AdapterError as error:
            flight.refusal = error
            self._send(wire.Room(wish.serial, None))
        else:
            self._send(wire.Room(wish.serial, begin))

    def _send(self, message: wire.Message) -> None:
        if self._life is not None:
            self._life.writer.write(wire.encode(message))

    def _lose(self) -> None:
        """The process is gone, and with it whatever it was at."""
        self._life = None
        self._alive.clear()
        for flight in self._flights.values():
            if flight.answer is not None:
                flight.answer.cancel()
            if not flight.end.done():
                flight.end.set_exception(AdapterUnavailable(f"the loader of adapter {flight.digest} ended; try again."))


def _failure(flight: _Flight, message: wire.Failed) -> Exception:
    if message.kind == wire.REFUSED and flight.refusal is not None:
        return Refused(flight.refusal)
    return wire.ERRORS.get(message.kind, AdapterUnavailable)(message.message)
