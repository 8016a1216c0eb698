"""One load a digest at a time, retries, and one end each."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from chorus_engine.adapters import AdapterFetcher
from chorus_engine.adapters.fetcher import ATTEMPTS, Room
from chorus_engine.adapters.loader import Refused
from chorus_engine.core.errors import AdapterError, AdapterNotFound, AdapterUnavailable, AdapterUnusable
from chorus_engine.core.spec import AdapterFootprint

DIGEST = "ab" * 32


@dataclass
class ScriptedLoader:
    """Ends as it is told, first to last; the last again and again. None is an adapter that arrives."""

    ends: list[Exception | None]
    calls: list[tuple[str, str, bool]] = field(default_factory=list)
    rooms: list[int] = field(default_factory=list)
    hastened: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def load(self, digest: str, traceparent: str, *, urgent: bool, room: Room) -> None:
        self.calls.append((digest, traceparent, urgent))
        self.rooms.append(await room(AdapterFootprint(digest, ()), 10))
        await self.gate.wait()
        end = self.ends.pop(0) if len(self.ends) > 1 else self.ends[0]
        if end is not None:
            raise end

    def hasten(self, digest: str) -> None:
        self.hastened.append(digest)


@contextmanager
def trace(digest: str, traceparent: str) -> Iterator[str]:
    yield f"child of {traceparent}"


async def room(footprint: AdapterFootprint, size: int) -> int:
    return 256


class Ends:
    """What a fetcher reported; None is an adapter that arrived."""

    def __init__(self, loader: ScriptedLoader) -> None:
        self.all: list[tuple[str, AdapterError | None]] = []
        self._came = asyncio.Event()
        self.fetcher = AdapterFetcher(
            loader,
            room=room,
            arrived=lambda digest: self._add(digest, None),
            failed=self._add,
            trace=trace,
            first_backoff=0.001,
        )

    async def next(self) -> tuple[str, AdapterError | None]:
        await asyncio.wait_for(self._came.wait(), 60)
        self._came.clear()
        return self.all[-1]

    def _add(self, digest: str, end: AdapterError | None) -> None:
        self.all.append((digest, end))
        self._came.set()


async def test_a_digest_asked_for_twice_is_loaded_once() -> None:
    loader = ScriptedLoader([None])
    ends = Ends(loader)
    for _ in range(3):
        ends.fetcher.start(DIGEST, "parent")
    assert await ends.next() == (DIGEST, None)
    assert loader.calls == [(DIGEST, "child of parent", True)]
    assert loader.rooms == [256]
    ends.fetcher.start(DIGEST)
    await ends.next()
    assert len(ends.all) == len(loader.calls) == 2, "an adapter that was evicted is loaded again"
    await ends.fetcher.close()


async def test_a_store_that_comes_back_is_tried_again() -> None:
    loader = ScriptedLoader([AdapterUnavailable("away"), AdapterUnavailable("away"), None])
    ends = Ends(loader)
    ends.fetcher.start(DIGEST)
    assert await ends.next() == (DIGEST, None)
    assert len(loader.calls) == 3
    await ends.fetcher.close()


@pytest.mark.parametrize(
    ("error", "calls"),
    [(AdapterUnavailable("away"), ATTEMPTS), (AdapterNotFound("none"), 1), (AdapterUnusable("bad"), 1)],
)
async def test_errors_end_the_fetch(error: AdapterError, calls: int) -> None:
    loader = ScriptedLoader([error])
    ends = Ends(loader)
    ends.fetcher.start(DIGEST)
    assert await ends.next() == (DIGEST, error)
    assert len(loader.calls) == calls
    await ends.fetcher.close()


async def test_what_the_engine_has_no_room_for_is_not_tried_again() -> None:
    error = AdapterUnavailable("no room")
    loader = ScriptedLoader([Refused(error)])
    ends = Ends(loader)
    ends.fetcher.start(DIGEST)
    assert await ends.next() == (DIGEST, error)
    assert len(loader.calls) == 1
    await ends.fetcher.close()


async def test_a_broken_loader_client_fails_the_adapter_alone(caplog: pytest.LogCaptureFixture) -> None:
    ends = Ends(ScriptedLoader([KeyError("surprise"), None]))
    ends.fetcher.start(DIGEST)
    assert isinstance((await ends.next())[1], AdapterUnavailable)
    assert "surprise" in caplog.text
    ends.fetcher.start(DIGEST)
    assert await ends.next() == (DIGEST, None)
    await ends.fetcher.close()


async def test_a_prefetch_can_be_hastened() -> None:
    loader = ScriptedLoader([AdapterUnavailable("away"), None])
    loader.gate.clear()
    ends = Ends(loader)
    ends.fetcher.start(DIGEST, urgent=False)
    ends.fetcher.hasten("cd" * 32)  # it ended meanwhile
    await asyncio.sleep(0)
    ends.fetcher.hasten(DIGEST)
    loader.gate.set()
    await ends.next()
    assert loader.hastened == [DIGEST]
    assert [urgent for _, _, urgent in loader.calls] == [False, True], "another attempt is hasty from its beginning"
    await ends.fetcher.close()


async def test_closing_abandons_what_is_under_way() -> None:
    ends = Ends(ScriptedLoader([AdapterUnavailable("away")]))
    ends.fetcher.start(DIGEST)
    await asyncio.sleep(0)
    await ends.fetcher.close()
    assert ends.all == []
