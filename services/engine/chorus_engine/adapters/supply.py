"""The loop's side of the adapters' way: which fetches run, and what host memory holds."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from chorus_engine.adapters.arena import Span
from chorus_engine.adapters.cache import HostCache
from chorus_engine.adapters.host import HostAdapter
from chorus_engine.adapters.tier import Done
from chorus_engine.core.errors import AdapterError, AdapterUnavailable, AdapterUnusable
from chorus_engine.core.load import Hosted, HostMemory
from chorus_engine.core.spec import AdapterFootprint

MAX_FETCHES = 4  # at once, for requests
MAX_PREFETCHES = 2  # at once, for nobody yet

Answer = Callable[[int | AdapterError], None]  # where the span begins, or why there is none


@dataclass(slots=True, eq=False)
class _Command:
    done: Done
    pin: bool


@dataclass(slots=True, eq=False)
class _Job:
    """An adapter that is fetched, or is to be."""

    digest: str
    since: float
    requested: bool = False  # by a request; else by commands alone
    commands: list[_Command] = field(default_factory=list)
    began: float | None = None  # when its fetch did
    urgent: bool = False  # as the fetch was told last
    footprint: AdapterFootprint | None = None
    span: Span | None = None
    wish: tuple[AdapterFootprint, int, Answer] | None = None  # it waits for room

    @property
    def pins(self) -> bool:
        return any(command.pin for command in self.commands)


class AdapterSupply:
    """Starts the fetches that are wanted and finds room for what they bring.

    Fetches for requests go first, in the order of the requests (`priority`: the lowest first, None when none waits any
    more), and may have all of memory but what is needed or pinned. The others never take room from what is worth more.
    Used from the loop's thread alone. `start(digest, urgent)` must not block; the fetch asks for `room` and ends,
    later, in `arrived` or `failed`. `hasten(digest)`: a request waits by now for what was begun without one.
    """

    def __init__(
        self,
        cache: HostCache,
        *,
        start: Callable[[str, bool], None],
        hasten: Callable[[str], None],
        priority: Callable[[str], Any],
        shape: Callable[[AdapterFootprint, Span], HostAdapter],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cache = cache
        self._start = start
        self._hasten = hasten
        self._priority = priority
        self._shape = shape
        self._clock = clock
        self._jobs: dict[str, _Job] = {}
        self._changes = 0

    # ---------------------------------------------------------------- for requests

    def want(self, digest: str) -> None:
        """A request waits for an adapter that host memory lacks."""
        self._cache.missed(digest)
        self._job(digest).requested = True

    def pump(self) -> None:
        """Do what can be done by now."""
        if not self._jobs:
            return
        order = self._in_order()
        for job in order:
            if job.wish is not None:
                self._find_room(job)
        self._start_fetches(order)

    def room(self, footprint: AdapterFootprint, size: int, answer: Answer) -> None:
        """The fetch of an adapter knows its size in bytes. Answered at once, or when there is room."""
        job = self._jobs[footprint.digest]
        job.wish = (footprint, size, answer)
        self._find_room(job)

    def arrived(self, digest: str) -> AdapterFootprint:
        """Its bytes are in its span. Keep the adapter."""
        job = self._jobs.pop(digest)
        assert job.footprint is not None, f"adapter {digest} arrived without room"
        assert job.span is not None, f"adapter {digest} arrived without room"
        seconds = self._clock() - (job.since if job.began is None else job.began)
        self._cache.put(self._shape(job.footprint, job.span), seconds, requested=job.requested)
        self._changes += 1
        for command in job.commands:
            self._obey(digest, command)
        return job.footprint

    def failed(self, digest: str, error: AdapterError) -> None:
        """Nothing writes to its span any more."""
        job = self._jobs.pop(digest)
        if self._cache.is_reserved(digest):
            self._cache.release(digest)
        self._changes += 1
        for command in job.commands:
            command.done(str(error))

    # ---------------------------------------------------------------- for commands

    @property
    def version(self) -> int:
        return self._changes + self._cache.version

    def states(self) -> Iterator[Hosted]:
        yield from self._cache.held()
        for job in self._jobs.values():
            if job.began is not None:
                yield Hosted(job.digest, "fetching", job.span.bytes if job.span else 0, job.pins, job.since)

    def memory(self) -> HostMemory:
        return self._cache.memory()

    def prefetch(self, digest: str, done: Done) -> None:
        self._command(digest, _Command(done, pin=False))

    def pin(self, digest: str, done: Done) -> None:
        self._command(digest, _Command(done, pin=True))

    def unpin(self, digest: str) -> None:
        self._cache.unpin(digest)
        if (job := self._jobs.get(digest)) is not None:
            pins = [command for command in job.commands if command.pin]
            job.commands = [command for command in job.commands if not command.pin]
            for command in pins:
                command.done(f"the pin of adapter {digest} was removed before the adapter was there.")
            self._changes += 1

    def drop(self, digest: str) -> bool:
        if digest in self._jobs or (digest in self._cache and self._cache.is_needed(digest)):
            return False
        if digest in self._cache:
            self._cache.release(digest)
        return True

    def check(self) -> None:
        self._cache.check()
        for digest, job in self._jobs.items():
            assert digest not in self._cache, f"adapter {digest} is fetched and held"
            assert self._cache.is_reserved(digest) == (job.span is not None)
            assert job.wish is None or job.span is None

    # ---------------------------------------------------------------- fetches

    def _job(self, digest: str) -> _Job:
        job = self._jobs.get(digest)
        if job is None:
            job = self._jobs[digest] = _Job(digest, self._clock())
        return job

    def _in_order(self) -> list[_Job]:
        """Those that requests wait for in their order, then the others by age."""
        ranks = {digest: self._priority(digest) for digest in self._jobs}
        waited_for = sorted(
            (job for d, job in self._jobs.items() if ranks[d] is not None), key=lambda j: ranks[j.digest]
        )
        return waited_for + [job for digest, job in self._jobs.items() if ranks[digest] is None]

    def _is_urgent(self, job: _Job) -> bool:
        return self._priority(job.digest) is not None

    def _start_fetches(self, order: Iterable[_Job]) -> None:
        running = [job for job in order if job.began is not None]
        for job in running:
            if not job.urgent and self._is_urgent(job):
                job.urgent = True
                self._hasten(job.digest)
        free = {True: MAX_FETCHES, False: MAX_PREFETCHES}
        for job in running:
            free[job.urgent] -= 1
        for job in order:
            if job.began is None and free[urgent := self._is_urgent(job)] > 0:
                free[urgent] -= 1
                job.began, job.urgent = self._clock(), urgent
                self._changes += 1
                self._start(job.digest, urgent)

    # ---------------------------------------------------------------- room

    def _find_room(self, job: _Job) -> None:
        assert job.wish is not None, "it waits for room"
        footprint, size, answer = job.wish
        job.span = None
        found = self._reserve(job, size)
        if found is None:
            return
        job.wish = None
        if isinstance(found, Span):
            job.footprint, job.span = footprint, found
            self._changes += 1
            answer(found.begin)
        else:
            answer(found)

    def _reserve(self, job: _Job, size: int) -> Span | AdapterError | None:
        """A span, or why there will be none; None is to be tried again."""
        cache, digest = self._cache, job.digest
        if size > cache.limit:
            return AdapterUnusable(
                f"adapter {digest} takes {size} bytes of host memory; this engine has {cache.limit} "
                "(CHORUS_HOST_ADAPTER_MEMORY)."
            )
        urgent = self._is_urgent(job)
        if job.pins and not cache.can_pin(size) and not urgent:
            return AdapterUnavailable(self._no_pin(digest, size))
        if (span := cache.reserve(digest, size, spare=not urgent and not job.pins)) is not None:
            return span
        if urgent and cache.may_find_room():
            return None
        return AdapterUnavailable(
            f"host memory has no room for the {size} bytes of adapter {digest} beside what is pinned or worth more: "
            f"{cache.memory().used} of {cache.limit} bytes are used (CHORUS_HOST_ADAPTER_MEMORY)."
        )

    # ---------------------------------------------------------------- commands

    def _command(self, digest: str, command: _Command) -> None:
        if digest in self._cache:
            self._obey(digest, command)
        else:
            self._job(digest).commands.append(command)
            self._changes += 1

    def _obey(self, digest: str, command: _Command) -> None:
        """Of an adapter that is there."""
        cache = self._cache
        if command.pin and not cache.is_pinned(digest):
            if not cache.can_pin(cache.size(digest)):
                command.done(self._no_pin(digest, cache.size(digest)))
                return
            cache.pin(digest)
        command.done(None)

    def _no_pin(self, digest: str, size: int) -> str:
        return (
            f"adapter {digest} takes {size} bytes; {self._cache.pinned} are pinned and at most {self._cache.pinnable} "
            "may be, half of CHORUS_HOST_ADAPTER_MEMORY."
        )
