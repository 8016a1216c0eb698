"""One fetch a digest, retries, and one end each."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from chorus_engine.adapters import AdapterFetcher, AdapterFiles, HostAdapter
from chorus_engine.adapters.fetcher import ATTEMPTS
from chorus_engine.core.errors import AdapterError, AdapterNotFound, AdapterUnavailable, AdapterUnusable
from tests.engine.adapters.build import LAYOUT, files


@dataclass
class ScriptedStore:
    """Answers with what it is given, first to last; the last again and again."""

    answers: list[AdapterFiles | Exception]
    calls: list[tuple[str, str]] = field(default_factory=list)

    async def fetch(self, digest: str, traceparent: str = "") -> AdapterFiles:
        self.calls.append((digest, traceparent))
        await asyncio.sleep(0)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@contextmanager
def trace(digest: str, traceparent: str) -> Iterator[str]:
    yield f"child of {traceparent}"


class Ends:
    """What a fetcher reported."""

    def __init__(self, store: ScriptedStore) -> None:
        self.all: list[tuple[str, HostAdapter | AdapterError]] = []
        self._came = asyncio.Event()
        self.fetcher = AdapterFetcher(
            store,
            LAYOUT,
            arrived=lambda adapter: self._add(adapter.digest, adapter),
            failed=self._add,
            trace=trace,
            first_backoff=0.001,
        )

    async def next(self) -> tuple[str, HostAdapter | AdapterError]:
        await asyncio.wait_for(self._came.wait(), 10)
        self._came.clear()
        return self.all[-1]

    def _add(self, digest: str, end: HostAdapter | AdapterError) -> None:
        self.all.append((digest, end))
        self._came.set()


async def test_a_digest_asked_for_twice_is_fetched_once() -> None:
    good = files()
    store = ScriptedStore([good])
    ends = Ends(store)
    for _ in range(3):
        ends.fetcher.start(good.digest(), "parent")
    _, adapter = await ends.next()
    assert isinstance(adapter, HostAdapter)
    assert adapter.digest == good.digest()
    assert store.calls == [(good.digest(), "child of parent")]
    ends.fetcher.start(good.digest())
    await ends.next()
    assert len(ends.all) == len(store.calls) == 2, "an adapter that was evicted is fetched again"
    await ends.fetcher.close()


async def test_a_store_that_comes_back_is_tried_again() -> None:
    good = files()
    store = ScriptedStore([AdapterUnavailable("away"), AdapterUnavailable("away"), good])
    ends = Ends(store)
    ends.fetcher.start(good.digest())
    assert isinstance((await ends.next())[1], HostAdapter)
    assert len(store.calls) == 3
    await ends.fetcher.close()


@pytest.mark.parametrize(
    ("error", "calls"),
    [(AdapterUnavailable("away"), ATTEMPTS), (AdapterNotFound("none"), 1), (AdapterUnusable("bad"), 1)],
)
async def test_errors_end_the_fetch(error: AdapterError, calls: int) -> None:
    store = ScriptedStore([error])
    ends = Ends(store)
    ends.fetcher.start("ab" * 32)
    assert await ends.next() == ("ab" * 32, error)
    assert len(store.calls) == calls
    await ends.fetcher.close()


async def test_a_broken_store_client_fails_the_adapter_alone(caplog: pytest.LogCaptureFixture) -> None:
    good = files()
    ends = Ends(ScriptedStore([KeyError("surprise"), good]))
    ends.fetcher.start("ab" * 32)
    assert isinstance((await ends.next())[1], AdapterUnavailable)
    assert "surprise" in caplog.text
    ends.fetcher.start(good.digest())
    assert isinstance((await ends.next())[1], HostAdapter)
    await ends.fetcher.close()


async def test_closing_abandons_what_is_under_way() -> None:
    ends = Ends(ScriptedStore([AdapterUnavailable("away")]))
    ends.fetcher.start("ab" * 32)
    await asyncio.sleep(0)
    await ends.fetcher.close()
    assert ends.all == []
