"""What stands before the loop: a request goes in once its constraint is compiled."""

import threading
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Protocol

from chorus_engine.constraints.cache import GrammarCache
from chorus_engine.core.constraint import Constraint
from chorus_engine.core.errors import EngineError
from chorus_engine.core.request import Request

if TYPE_CHECKING:
    import llguidance


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
        self._compiling: dict[str, bool] = {}  # request id → whether it was cancelled meanwhile
        self._leased: dict[str, Constraint] = {}  # request id → until it ends

    def submit(self, request: Request) -> None:
        constraint = request.sampling.constraint
        if constraint is None:
            self._engine.submit(request)
            return
        with self._lock:
            self._compiling[request.id] = False
            self._leased[request.id] = constraint
        self._cache.lease(constraint).add_done_callback(partial(self._compiled, request))

    def cancel(self, request_id: str) -> None:
        with self._lock:
            if request_id in self._compiling:
                self._compiling[request_id] = True
            else:
                self._engine.cancel(request_id)

    def ended(self, request_id: str) -> None:
        with self._lock:
            constraint = self._leased.pop(request_id, None)
        if constraint is not None:
            self._cache.release(constraint)

    def _compiled(self, request: Request, compiled: "Future[llguidance.LLMatcher]") -> None:
        """On the thread that compiled, or at once."""
        error = compiled.exception()
        with self._lock:
            cancelled = self._compiling.pop(request.id)
            if isinstance(error, EngineError):
                self._engine.refuse(request.id, error)
                return
            self._engine.submit(request)
            if cancelled:
                self._engine.cancel(request.id)
