"""Several processes that serve one port: a parent that starts them, starts anew what dies, and ends them together.

The parent holds the port with a socket on which nobody listens. Each worker listens on one of its own (SO_REUSEPORT)
from when it is ready, so the kernel spreads connections over those that serve, and a worker that dies leaves its share
to the others. Workers are forked before anything is opened: no loop, no channel, no thread.
"""

import asyncio
import gc
import logging
import os
import selectors
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

log = logging.getLogger(__name__)

FIRST_DELAY, LAST_DELAY = 0.1, 10.0  # seconds before a worker that died is started again, doubled each time
MOST_DOUBLINGS = 30  # of a delay: a float has no room for a thousand
SOUND_SECONDS = 10.0  # a worker that has lived for so long begins with the first delay again
KILLED = 128  # and the signal's number: a status as shells tell it
READY = b"r"
ENDING = (signal.SIGTERM, signal.SIGINT)


class Leash:
    """A worker's tie to its parent, which closes the other end by its own end at the latest."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def ready(self) -> None:
        """The worker listens."""
        with suppress(OSError):
            self._end.send(READY)

    @contextmanager
    def held(self, broken: Callable[[], None]) -> Iterator[None]:
        """`broken` is called when the parent is no more."""
        loop = asyncio.get_running_loop()

        def gone() -> None:
            loop.remove_reader(self._end)
            broken()

        loop.add_reader(self._end, gone)
        try:
            yield
        finally:
            loop.remove_reader(self._end)


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker's process knows of itself."""

    index: int
    count: int  # of workers
    starts: int  # of this one, as it takes the place of those that died
    port: int
    folder: Path  # of sockets by which the workers of one gateway talk
    leash: Leash


@dataclass(eq=False, slots=True)
class _Place:
    index: int
    pid: int = 0  # 0 is none
    starts: int = 0
    failures: int = 0  # in a row
    began: float = 0.0  # on the monotonic clock, as `due`: when to start it
    due: float = 0.0
    end: socket.socket | None = None  # ours of its leash


class Workers:
    def __init__(self, count: int, port: int, work: Callable[[Worker], int], *, patience: float) -> None:
        """`work` is what a worker's process does; it gives the exit status. `patience`: seconds that workers may take
        to end before they are killed."""
        self._count = count
        self._port = port
        self._work = work
        self._patience = patience
        self._places = [_Place(index) for index in range(count)]
        self._serving = False  # a worker has been ready
        self._kill_at: float | None = None  # set when all are to end
        self._status = 0

    def run(self) -> int:
        """Until SIGTERM or SIGINT, or until the first worker ends before it was ever ready: then its status is ours."""
        with tempfile.TemporaryDirectory(prefix="chorus-gateway-") as folder, _signals() as woken:
            gc.freeze()  # what was imported stays shared with the workers
            while self._kill_at is None or any(place.pid for place in self._places):
                self._start_due(Path(folder))
                self._wait(woken)
                self._reap()
                if self._kill_at is not None and time.monotonic() > self._kill_at:
                    self._tell(signal.SIGKILL)
        return self._status

    def _start_due(self, folder: Path) -> None:
        # The first one alone: what it cannot do, such as bring the database up to date, none of them can.
        for place in self._places if self._serving else self._places[:1]:
            if self._kill_at is None and not place.pid and time.monotonic() >= place.due:
                try:
                    self._start(place, folder)
                except OSError as error:  # too many processes, or no memory: the others go on
                    place.failures += 1
                    delay = self._put_off(place)
                    log.error(
                        "a gateway worker cannot be started",
                        extra={"worker": place.index, "error": str(error), "again_in": delay},
                    )

    def _start(self, place: _Place, folder: Path) -> None:
        ours, theirs = socket.socketpair()
        place.starts += 1
        place.began = time.monotonic()
        # What a worker is told before it has its own handlers waits until then: ours would swallow it.
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            place.pid = os.fork()
        except OSError:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
            ours.close()
            theirs.close()
            raise
        if not place.pid:
            for end in (ours, *(other.end for other in self._places if other.end is not None)):
                end.close()
            _become(Worker(place.index, self._count, place.starts, self._port, folder, Leash(theirs)), self._work)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        theirs.close()
        place.end = ours

    def _wait(self, woken: socket.socket) -> None:
        """For a signal, the first worker's word that it is ready, or the time of what is due next."""
        with selectors.DefaultSelector() as selector:
            selector.register(woken, selectors.EVENT_READ)
            first = self._places[0].end
            if first is not None and not self._serving:
                selector.register(first, selectors.EVENT_READ)
            for key, _ in selector.select(self._until_due()):
                if key.fileobj is woken:
                    self._heed(woken.recv(64))
                elif first is not None and first.recv(1) == READY:
                    self._serving = True

    def _until_due(self) -> float:
        times = [place.due for place in self._places if not place.pid] if self._serving else []
        if self._kill_at is not None:
            times = [self._kill_at]
        return min(5.0, max(0.0, min(times, default=float("inf")) - time.monotonic()))

    def _heed(self, numbers: bytes) -> None:
        if self._kill_at is None and not set(ENDING).isdisjoint(numbers):
            self._end()

    def _end(self) -> None:
        self._kill_at = time.monotonic() + self._patience
        self._tell(signal.SIGTERM)

    def _tell(self, number: signal.Signals) -> None:
        for place in self._places:
            if place.pid:
                os.kill(place.pid, number)  # not reaped yet, so it is still ours

    def _reap(self) -> None:
        for place in self._places:
            if place.pid:
                pid, status = os.waitpid(place.pid, os.WNOHANG)
                if pid:
                    self._ended(place, os.waitstatus_to_exitcode(status))

    def _ended(self, place: _Place, status: int) -> None:
        """`status` is negative for a signal."""
        pid, place.pid = place.pid, 0
        if place.end is not None:
            place.end.close()
            place.end = None
        if self._kill_at is not None or not self._serving:
            told_to = self._kill_at is not None and status == -signal.SIGTERM  # before it could heed it
            self._status = self._status or (0 if told_to else status if status >= 0 else KILLED - status)
            if self._kill_at is None:
                self._end()
            return
        lived = time.monotonic() - place.began
        place.failures = 0 if lived > SOUND_SECONDS else place.failures + 1
        delay = self._put_off(place)
        log.error(
            "a gateway worker died",
            extra={"worker": place.index, "pid": pid, "status": status, "lived": round(lived, 3), "restart_in": delay},
        )

    @staticmethod
    def _put_off(place: _Place) -> float:
        """Until when it is started again, in seconds from now."""
        delay = min(FIRST_DELAY * 2.0 ** min(place.failures, MOST_DOUBLINGS), LAST_DELAY)
        place.due = time.monotonic() + delay
        return delay


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """From which their numbers can be read, a byte each."""
    ours, woken = socket.socketpair()
    for end in (ours, woken):
        end.setblocking(False)
    previous = signal.set_wakeup_fd(ours.fileno(), warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, lambda *_: None) for number in (*ENDING, signal.SIGCHLD)}
    try:
        yield woken
    finally:
        signal.set_wakeup_fd(previous)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        ours.close()
        woken.close()


def _become(worker: Worker, work: Callable[[Worker], int]) -> NoReturn:
    """Never back into the parent's code."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent passes on what it means
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        status = work(worker)
    except BaseException:
        log.exception("a gateway worker failed")
    finally:
        sys.stderr.flush()
        os._exit(status)
