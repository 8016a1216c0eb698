"""Threads that compile constraints, in turns among tenants."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

Call = Callable[[], None]


class Compilers:
    """A tenant has one thread at a time, and what waits goes tenant by tenant: whoever sends what takes seconds to
    compile, and much of it, keeps its own requests waiting and nobody else's."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, "constraints")
        self._lock = threading.Lock()
        self._free = threads
        self._waiting: dict[str, deque[Call]] = {}  # by tenant, in the order of their turns
        self._busy: set[str] = set()  # tenants
        self._closed = False

    def start(self, tenant: str, call: Call) -> None:
        with self._lock:
            self._waiting.setdefault(tenant, deque()).append(call)
            self._next()

    def close(self) -> None:
        """What waits never runs."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _next(self) -> None:
        while self._free and not self._closed:
            tenant = next((each for each in self._waiting if each not in self._busy), None)
            if tenant is None:
                return
            calls = self._waiting.pop(tenant)
            call = calls.popleft()
            if calls:
                self._waiting[tenant] = calls  # behind the others
            self._free -= 1
            self._busy.add(tenant)
            self._pool.submit(self._run, tenant, call)

    def _run(self, tenant: str, call: Call) -> None:
        try:
            call()
        finally:
            with self._lock:
                self._free += 1
                self._busy.discard(tenant)
                self._next()
