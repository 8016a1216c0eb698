"""Compiled constraints: one for all requests with the same, kept while one of them lives and for a while after."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from chorus_engine.constraints.watcher import NOBODY, Watcher
from chorus_engine.core.constraint import Constraint
from chorus_engine.core.errors import ConstraintRefused

if TYPE_CHECKING:
    from chorus_engine.constraints.lanes import Grammar

log = logging.getLogger(__name__)

MAX_GRAMMARS = 512
MAX_BYTES = 256 << 20
# Measured: a schema of 500 characters takes 80 KB compiled.
BASE_BYTES, BYTES_A_CHARACTER = 32 << 10, 128
DEAR_SECONDS = 0.05  # what takes longer to compile gets no third lane
REFUSED_SECONDS = 60.0  # for which what was refused is not tried again: that may cost more than what is good


@dataclass(slots=True)
class _Entry:
    compiled: "Future[Grammar]"
    bytes: int
    leases: int = 0
    begun: bool = False
    lanes: int = 1
    widens: bool = False  # another lane is being compiled, or will be
    waits_for: set[str] = field(default_factory=set)  # tenants in whose turn it will be compiled
    refused_at: float | None = None


class GrammarCache:
    """Thread-safe. What is leased stays whatever the bounds; who asks for what is being compiled waits for the same."""

    def __init__(
        self,
        compile_grammar: "Callable[[Constraint], Grammar]",
        start: Callable[[str, Callable[[], None]], object],
        *,
        widen: "Callable[[Constraint, Grammar], None] | None" = None,
        max_lanes: int = 1,
        max_grammars: int = MAX_GRAMMARS,
        max_bytes: int = MAX_BYTES,
        watcher: Watcher = NOBODY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """compile_grammar: raises ConstraintRefused. start: runs a call on another thread, in a tenant's turn.
        widen: adds a lane, as many as requests share a grammar and max_lanes at most; may raise the same.
        """
        self._compile = compile_grammar
        self._start = start
        self._widen, self._max_lanes = widen, max_lanes if widen is not None else 1
        self._max_grammars, self._max_bytes = max_grammars, max_bytes
        self._watcher = watcher
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[Constraint, _Entry] = OrderedDict()  # least recently leased first
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def lease(self, constraint: Constraint, tenant: str = "") -> "Future[Grammar]":
        """Compiled now or later, or ConstraintRefused. In any case `release` follows, once."""
        with self._lock:
            entry = self._entries.get(constraint)
            if entry is not None and self._stale(entry):
                self._drop(constraint)
                entry = None
            found = entry is not None
            if entry is None:
                entry = _Entry(Future(), _bytes(constraint))
                self._entries[constraint] = entry
                self._bytes += entry.bytes
            entry.leases += 1
            self._entries.move_to_end(constraint)
            asks = not entry.begun and tenant not in entry.waits_for  # nobody waits for another tenant's turn
            entry.waits_for.add(tenant)
            widens = self._widens(entry)
        if asks:
            self._start(tenant, partial(self._fill, tenant, constraint, entry))
        if widens:
            self._start(tenant, partial(self._add_lane, tenant, constraint, entry))
        if found:
            self._watcher.found()
        return entry.compiled

    def release(self, constraint: Constraint) -> None:
        with self._lock:
            entry = self._entries[constraint]
            entry.leases -= 1
            assert entry.leases >= 0, "released more often than leased"
            if not entry.leases and not entry.begun:
                self._drop(constraint)  # nobody wants it any more
            self._trim()

    def leased(self, constraint: Constraint) -> "Grammar":
        """What somebody has leased, compiled. Never waits."""
        return self._entries[constraint].compiled.result(timeout=0)

    def check(self) -> None:
        """The books are right, and what nobody leases is within the bounds."""
        with self._lock:
            assert self._bytes == sum(entry.bytes for entry in self._entries.values())
            if any(not entry.leases for entry in self._entries.values()):
                assert len(self._entries) <= self._max_grammars
                assert self._bytes <= self._max_bytes

    def _fill(self, tenant: str, constraint: Constraint, entry: _Entry) -> None:
        with self._lock:
            if entry.begun or not entry.leases:
                return
            entry.begun = True
        began = time.perf_counter()
        try:
            grammar = self._compile(constraint)
        except ConstraintRefused as error:
            self._watcher.compiled(time.perf_counter() - began, ok=False)
            self._refuse(entry, error)
        except BaseException:
            self._refuse(entry, ConstraintRefused("it could not be compiled."))
            raise
        else:
            self._watcher.compiled(time.perf_counter() - began, ok=True)
            entry.compiled.set_result(grammar)
            with self._lock:
                widens = self._widens(entry)
            if widens:
                self._start(tenant, partial(self._add_lane, tenant, constraint, entry))

    def _widens(self, entry: _Entry) -> bool:
        """Whether another lane is to be compiled now; then that is taken down."""
        good = entry.begun and entry.compiled.done() and entry.refused_at is None
        if entry.widens or not good or entry.lanes >= min(entry.leases, self._max_lanes):
            return False
        entry.widens = True
        return True

    def _add_lane(self, tenant: str, constraint: Constraint, entry: _Entry) -> None:
        """And the next in another turn, while there are fewer than requests."""
        assert self._widen is not None
        began = time.perf_counter()
        try:
            self._widen(constraint, entry.compiled.result())
        except ConstraintRefused as error:  # though the first was good: those who follow it wait for each other
            log.warning("a constraint could not be compiled again: %s", error)
        dear = time.perf_counter() - began > DEAR_SECONDS
        with self._lock:
            entry.lanes = self._max_lanes if dear else entry.lanes + 1
            entry.widens = False
            if self._entries.get(constraint) is entry:
                entry.bytes += _bytes(constraint)
                self._bytes += _bytes(constraint)
                self._trim()
            again = self._widens(entry)
        if again:
            self._start(tenant, partial(self._add_lane, tenant, constraint, entry))

    def _refuse(self, entry: _Entry, error: ConstraintRefused) -> None:
        entry.refused_at = self._clock()
        entry.compiled.set_exception(error)

    def _stale(self, entry: _Entry) -> bool:
        refused = entry.refused_at is not None and self._clock() - entry.refused_at > REFUSED_SECONDS
        return refused and not entry.leases

    def _trim(self) -> None:
        """While there are too many or they take too much, those go that were leased longest ago."""
        for constraint in [each for each, entry in self._entries.items() if not entry.leases]:
            if len(self._entries) <= self._max_grammars and self._bytes <= self._max_bytes:
                return
            self._drop(constraint)
            self._watcher.evicted()

    def _drop(self, constraint: Constraint) -> None:
        self._bytes -= self._entries.pop(constraint).bytes


def _bytes(constraint: Constraint) -> int:
    """Of one lane."""
    return BASE_BYTES + BYTES_A_CHARACTER * len(constraint.source)
