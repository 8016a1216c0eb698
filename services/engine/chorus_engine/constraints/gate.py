"""What stands before the loop: a request goes in once its constraint is compiled."""

import threading
from collections import Counter
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Protocol

from chorus_engine.constraints.cache import GrammarCache
from chorus_engine.core.constraint import Constraint
from chorus_engine.core.errors import ConstraintRefused, Crowded, EngineError
from chorus_engine.core.request import Request

if TYPE_CHECKING:
    from chorus_engine.constraints.lanes import Grammar


MOST_WAITING = 256  # requests of a tenant whose constraints are not compiled yet


class Engine(Protocol):
    """The loop, as seen from here. No call waits."""

    def submit(self, request: Request) -> None: ...

    def cancel(self, request_id: str) -> None: ...

    def refuse(self, request_id: str, error: EngineError) -> None:
        """Ends what was never submitted."""


class ConstraintGate:
    """`submit` and `cancel` are the engine's, and `ended` follows once for each request. Others are not touched."""

    def __init__(self, engine: Engine, cache: GrammarCache) -> None:
        self._engine = engine
        self._cache = cache
        self._lock = threading.Lock()
        self._compiling: dict[str, str] = {}  # request id → tenant
        self._waiting: Counter[str] = Counter()  # requests that compile, by tenant
        self._leased: dict[str, Constraint] = {}  # request id → until it ends

    @property
    def waiting(self) -> int:
        """Requests that have not gone in."""
        return len(self._compiling)

    def submit(self, request: Request) -> None:
        constraint = request.sampling.constraint
        if constraint is None:
            self._engine.submit(request)
            return
        with self._lock:
            crowded = self._waiting[request.tenant] >= MOST_WAITING
            if not crowded:
                self._compiling[request.id] = request.tenant
                self._waiting[request.tenant] += 1
                self._leased[request.id] = constraint
        if crowded:
            message = f"{MOST_WAITING} requests wait for their constraints to be compiled: try again in a moment."
            self._engine.refuse(request.id, Crowded(message))
            return
        compiled = self._cache.lease(constraint, request.tenant)
        compiled.add_done_callback(partial(self._compiled, request))

    def cancel(self, request_id: str) -> None:
        """At once, also where a constraint takes long to compile; nobody hears the error."""
        with self._lock:
            if self._leave(request_id):
                self._engine.refuse(request_id, ConstraintRefused("its request was cancelled."))
            else:
                self._engine.cancel(request_id)

    def ended(self, request_id: str) -> None:
        with self._lock:
            constraint = self._leased.pop(request_id, None)
        if constraint is not None:
            self._cache.release(constraint)

    def _compiled(self, request: Request, compiled: "Future[Grammar]") -> None:
        """On the thread that compiled, or at once."""
        error = compiled.exception()
        with self._lock:
            if not self._leave(request.id):
                return  # it was cancelled meanwhile
            if isinstance(error, EngineError):
                self._engine.refuse(request.id, error)
                return
            self._engine.submit(request)

    def _leave(self, request_id: str) -> bool:
        """False where it does not wait here."""
        tenant = self._compiling.pop(request_id, None)
        if tenant is None:
            return False
        self._waiting[tenant] -= 1
        if not self._waiting[tenant]:
            del self._waiting[tenant]
        return True
