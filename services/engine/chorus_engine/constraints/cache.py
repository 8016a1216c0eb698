"""Compiled constraints: one for all requests with the same, kept while one of them lives and for a while after."""

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
    import llguidance

MAX_GRAMMARS = 512
MAX_BYTES = 256 << 20
# Measured: a schema of 500 characters takes 80 KB compiled.
BASE_BYTES, BYTES_A_CHARACTER = 32 << 10, 128
REFUSED_SECONDS = 60.0  # for which what was refused is not tried again: that may cost more than what is good


@dataclass(slots=True)
class _Entry:
    compiled: "Future[llguidance.LLMatcher]"
    bytes: int
    leases: int = 0
    begun: bool = False
    waits_for: set[str] = field(default_factory=set)  # tenants in whose turn it will be compiled
    refused_at: float | None = None


class GrammarCache:
    """Thread-safe. What is leased stays whatever the bounds; who asks for what is being compiled waits for the same."""

    def __init__(
        self,
        compile_grammar: "Callable[[Constraint], llguidance.LLMatcher]",
        start: Callable[[str, Callable[[], None]], object],
        *,
        max_grammars: int = MAX_GRAMMARS,
        max_bytes: int = MAX_BYTES,
        watcher: Watcher = NOBODY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """compile_grammar: raises ConstraintRefused. start: runs a call on another thread, in a tenant's turn."""
        self._compile = compile_grammar
        self._start = start
        self._max_grammars, self._max_bytes = max_grammars, max_bytes
        self._watcher = watcher
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[Constraint, _Entry] = OrderedDict()  # least recently leased first
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def lease(self, constraint: Constraint, tenant: str = "") -> "Future[llguidance.LLMatcher]":
        """Compiled now or later, or ConstraintRefused. In any case `release` follows, once."""
        with self._lock:
            entry = self._entries.get(constraint)
            if entry is not None and self._stale(entry):
                self._drop(constraint)
                entry = None
            found = entry is not None
            if entry is None:
                entry = _Entry(Future(), BASE_BYTES + BYTES_A_CHARACTER * len(constraint.source))
                self._entries[constraint] = entry
                self._bytes += entry.bytes
            entry.leases += 1
            self._entries.move_to_end(constraint)
            asks = not entry.begun and tenant not in entry.waits_for  # nobody waits for another tenant's turn
            entry.waits_for.add(tenant)
        if asks:
            self._start(tenant, partial(self._fill, constraint, entry))
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

    def leased(self, constraint: Constraint) -> "llguidance.LLMatcher":
        """What somebody has leased, compiled. Never waits."""
        return self._entries[constraint].compiled.result(timeout=0)

    def check(self) -> None:
        """The books are right, and what nobody leases is within the bounds."""
        with self._lock:
            assert self._bytes == sum(entry.bytes for entry in self._entries.values())
            if any(not entry.leases for entry in self._entries.values()):
                assert len(self._entries) <= self._max_grammars
                assert self._bytes <= self._max_bytes

    def _fill(self, constraint: Constraint, entry: _Entry) -> None:
        with self._lock:
            if entry.begun or not entry.leases:
                return
            entry.begun = True
        began = time.perf_counter()
        try:
            matcher = self._compile(constraint)
        except ConstraintRefused as error:
            self._watcher.compiled(time.perf_counter() - began, ok=False)
            self._refuse(entry, error)
        except BaseException:
            self._refuse(entry, ConstraintRefused("it could not be compiled."))
            raise
        else:
            self._watcher.compiled(time.perf_counter() - began, ok=True)
            entry.compiled.set_result(matcher)

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
