"""What is fetched or is to be, and whose turn it is."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from chorus_engine.adapters.arena import Span
from chorus_engine.adapters.tier import Done
from chorus_engine.core.errors import AdapterError
from chorus_engine.core.spec import AdapterFootprint

MAX_FETCHES = 4  # at once, for requests
MAX_PREFETCHES = 2  # at once, for nobody yet

Answer = Callable[[int | AdapterError], None]  # where the span begins, or why there is none


@dataclass(slots=True, eq=False)
class Command:
    done: Done
    pin: bool


@dataclass(slots=True, eq=False)
class Fetch:
    """An adapter that is fetched, or is to be."""

    digest: str
    since: float
    requested: bool = False  # by a request; else by commands alone
    commands: list[Command] = field(default_factory=list)
    began: float | None = None
    urgent: bool = False  # as whoever brings it was told last
    footprint: AdapterFootprint | None = None
    span: Span | None = None
    wish: tuple[AdapterFootprint, int, Answer] | None = None  # it waits for room
    wished: float = 0.0  # since when

    @property
    def pins(self) -> bool:
        return any(command.pin for command in self.commands)


class Fetches:
    """Those that requests wait for go first, in the order of the requests; then the others, first come first served.

    `priority(digest)`: of the first request that waits, the lowest first; None when none waits (any more).
    `start(digest, urgent)` begins a fetch. `hasten(digest)`: a request waits by now for what was begun without one.
    """

    def __init__(
        self,
        start: Callable[[str, bool], None],
        hasten: Callable[[str], None],
        priority: Callable[[str], Any],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._start = start
        self._hasten = hasten
        self._priority = priority
        self._clock = clock
        self._all: dict[str, Fetch] = {}
        self.changed: set[str] = set()  # adapters whose fetch began or ended, until somebody takes them

    def __contains__(self, digest: str) -> bool:
        return digest in self._all

    def __iter__(self) -> Iterator[Fetch]:
        return iter(self._all.values())

    def __getitem__(self, digest: str) -> Fetch:
        return self._all[digest]

    def get(self, digest: str) -> Fetch | None:
        return self._all.get(digest)

    def ensure(self, digest: str) -> Fetch:
        if digest not in self._all:
            self._all[digest] = Fetch(digest, self._clock())
        return self._all[digest]

    def end(self, digest: str) -> Fetch:
        self.changed.add(digest)
        return self._all.pop(digest)

    def is_urgent(self, fetch: Fetch) -> bool:
        return self._priority(fetch.digest) is not None

    def in_order(self) -> list[Fetch]:
        ranked = [(self._priority(digest), fetch) for digest, fetch in self._all.items()]
        waited_for = sorted((each for each in ranked if each[0] is not None), key=lambda each: each[0])
        return [fetch for _, fetch in waited_for] + [fetch for rank, fetch in ranked if rank is None]

    def advance(self, order: list[Fetch]) -> None:
        """Begin those of `order` whose turn it is."""
        free = {True: MAX_FETCHES, False: MAX_PREFETCHES}
        for fetch in order:
            if fetch.began is not None:
                if not fetch.urgent and self.is_urgent(fetch):
                    fetch.urgent = True
                    self._hasten(fetch.digest)
                free[fetch.urgent] -= 1
        for fetch in order:
            urgent = self.is_urgent(fetch)
            if fetch.began is None and free[urgent] > 0:
                free[urgent] -= 1
                fetch.began, fetch.urgent = self._clock(), urgent
                self.changed.add(fetch.digest)
                self._start(fetch.digest, urgent)
