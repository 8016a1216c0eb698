"""The loop's side of the adapters' way: what is fetched, what gets room in host memory, and what is kept there."""

import time
from collections.abc import Callable
from typing import Any

from chorus_engine.adapters.arena import Span
from chorus_engine.adapters.cache import HostCache
from chorus_engine.adapters.fetches import Answer, Command, Fetch, Fetches
from chorus_engine.adapters.host import HostAdapter
from chorus_engine.adapters.tier import Done
from chorus_engine.core.errors import AdapterError, AdapterUnavailable, AdapterUnusable
from chorus_engine.core.load import Hosted, HostMemory
from chorus_engine.core.spec import AdapterFootprint

ROOM_PATIENCE = 2.0  # seconds that a request's adapter waits for room while others take some


class AdapterSupply:
    """What requests wait for may have all of memory but what is needed or pinned; what is fetched for nobody yet never
    takes room from what is worth more.

    Used from the loop's thread alone. `start`, which must not block, `hasten` and `priority` as in `Fetches`: a fetch
    asks for `room` and ends, later, in `arrived` or `failed`. `shape` makes an adapter of what is in a span.
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
        self._shape = shape
        self._clock = clock
        self._fetches = Fetches(start, hasten, priority, clock)
        self._changed: set[str] = set()

    # ---------------------------------------------------------------- for requests

    def want(self, digest: str) -> None:
        """A request waits for an adapter that host memory lacks."""
        self._cache.missed(digest)
        self._fetches.ensure(digest).requested = True

    def pump(self) -> None:
        """Do what can be done by now."""
        order = self._fetches.in_order()
        for fetch in order:
            if fetch.wish is not None:
                self._find_room(fetch)
        self._fetches.advance(order)

    def room(self, footprint: AdapterFootprint, size: int, answer: Answer) -> None:
        """The fetch of an adapter knows its size in bytes. Answered at once, or when there is room."""
        fetch = self._fetches[footprint.digest]
        if fetch.wish is None:
            fetch.wished = self._clock()
        fetch.wish = (footprint, size, answer)
        self._find_room(fetch)

    def arrived(self, digest: str) -> AdapterFootprint:
        """Its bytes are in its span. Keep the adapter."""
        fetch = self._fetches.end(digest)
        assert fetch.began is not None, f"adapter {digest} arrived without a fetch"
        assert fetch.footprint is not None, f"adapter {digest} arrived without room"
        assert fetch.span is not None, f"adapter {digest} arrived without room"
        adapter = self._shape(fetch.footprint, fetch.span)
        self._cache.put(adapter, self._clock() - fetch.began, requested=fetch.requested)
        for command in fetch.commands:
            self._obey(digest, command)
        return fetch.footprint

    def failed(self, digest: str, error: AdapterError) -> None:
        """Nothing writes to its span any more."""
        fetch = self._fetches.end(digest)
        if self._cache.is_reserved(digest):
            self._cache.release(digest)
        for command in fetch.commands:
            command.done(str(error))

    # ---------------------------------------------------------------- for commands: as in HostTier

    def take_changed(self) -> set[str]:
        changed = self._changed | self._fetches.changed | self._cache.changed
        for each in (self._changed, self._fetches.changed, self._cache.changed):
            each.clear()
        return changed

    def get(self, digest: str) -> Hosted | None:
        fetch = self._fetches.get(digest)
        if fetch is None or fetch.began is None:
            return self._cache.state(digest)
        size = 0 if fetch.span is None else fetch.span.bytes
        return Hosted(digest, "fetching", size, fetch.pins, fetch.since)

    def memory(self) -> HostMemory:
        return self._cache.memory()

    def prefetch(self, digest: str, done: Done) -> None:
        self._command(digest, Command(done, pin=False))

    def pin(self, digest: str, done: Done) -> None:
        self._command(digest, Command(done, pin=True))

    def unpin(self, digest: str) -> None:
        self._cache.unpin(digest)
        if (fetch := self._fetches.get(digest)) is not None and fetch.pins:
            pins = [command for command in fetch.commands if command.pin]
            fetch.commands = [command for command in fetch.commands if not command.pin]
            self._changed.add(digest)
            for command in pins:
                command.done(f"the pin of adapter {digest} was removed before the adapter was there.")

    def drop(self, digest: str) -> bool:
        if digest in self._fetches or (digest in self._cache and self._cache.is_needed(digest)):
            return False
        if digest in self._cache:
            self._cache.release(digest)
        return True

    def check(self) -> None:
        self._cache.check()
        for fetch in self._fetches:
            assert fetch.digest not in self._cache, f"adapter {fetch.digest} is fetched and held"
            assert fetch.span is None or self._cache.is_reserved(fetch.digest)
            assert fetch.wish is None or fetch.span is None

    # ---------------------------------------------------------------- room

    def _find_room(self, fetch: Fetch) -> None:
        assert fetch.wish is not None, "it waits for room"
        footprint, size, answer = fetch.wish
        fetch.span = None
        if fetch is not (self._starving() or fetch):
            return
        found = self._reserve(fetch, size)
        if found is None:
            return
        fetch.wish = None
        if isinstance(found, Span):
            fetch.footprint, fetch.span = footprint, found
            self._changed.add(fetch.digest)
            answer(found.begin)
        else:
            answer(found)

    def _starving(self) -> Fetch | None:
        """The one that has waited longest for room of those that have for too long: nothing else takes any before it,
        or small adapters would for ever take what a large one needs."""
        now = self._clock()
        waiting = [fetch for fetch in self._fetches if fetch.wish is not None and self._fetches.is_urgent(fetch)]
        longest = min(waiting, key=lambda fetch: fetch.wished, default=None)
        return longest if longest is not None and now - longest.wished > ROOM_PATIENCE else None

    def _reserve(self, fetch: Fetch, size: int) -> Span | AdapterError | None:
        """A span, or why there will be none; None is to be tried again."""
        cache, digest = self._cache, fetch.digest
        if size > cache.limit:
            return AdapterUnusable(
                f"adapter {digest} takes {size} bytes of host memory; this engine has {cache.limit} "
                "(CHORUS_HOST_ADAPTER_MEMORY)."
            )
        urgent = self._fetches.is_urgent(fetch)
        if fetch.pins and not cache.can_pin(size) and not urgent:
            return AdapterUnavailable(self._no_pin(digest, size))
        if (span := cache.reserve(digest, size, spare=not urgent and not fetch.pins)) is not None:
            return span
        if urgent and cache.may_find_room():
            return None
        return AdapterUnavailable(
            f"host memory has no room for the {size} bytes of adapter {digest} beside what is pinned or worth more: "
            f"{cache.memory().used} of {cache.limit} bytes are used (CHORUS_HOST_ADAPTER_MEMORY)."
        )

    # ---------------------------------------------------------------- commands

    def _command(self, digest: str, command: Command) -> None:
        if digest in self._cache:
            self._obey(digest, command)
        else:
            self._fetches.ensure(digest).commands.append(command)
            self._changed.add(digest)

    def _obey(self, digest: str, command: Command) -> None:
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
