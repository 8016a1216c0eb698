import asyncio

import pytest

from chorus_gateway import caching
from chorus_gateway.caching import TtlCache
from chorus_gateway.errors import Unavailable


class Source:
    """Counts loads; each load's value is their number, or None."""

    def __init__(self) -> None:
        self.loads = 0
        self.absent = False
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def load(self) -> int | None:
        self.loads += 1
        mine = self.loads
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return None if self.absent else mine


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def loaded() -> None:
    """What needs only the loop has come to its end."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def cache(clock: Clock) -> TtlCache[str, int | None]:
    return TtlCache(ttl=1.0, size=3, absent_size=2, clock=clock)


async def test_what_is_asked_for_all_the_time_is_never_waited_for(
    cache: TtlCache[str, int | None], clock: Clock
) -> None:
    source = Source()
    assert await cache.get("a", source.load) == 1
    clock.now = 0.4
    assert await cache.get("a", source.load) == 1
    await asyncio.sleep(0)
    assert source.loads == 1
    clock.now = 0.6
    source.gate.clear()
    for _ in range(3):
        assert await asyncio.wait_for(cache.get("a", source.load), 60) == 1  # answered while it is loaded anew
        await asyncio.sleep(0)
    assert source.loads == 2
    source.gate.set()
    await loaded()
    clock.now = 1.5  # a second after the first one was loaded; the second was at 0.6
    assert await cache.get("a", source.load) == 2


async def test_a_life_is_counted_from_the_start_of_the_look_up(cache: TtlCache[str, int | None], clock: Clock) -> None:
    source = Source()
    source.gate.clear()
    first = asyncio.ensure_future(cache.get("a", source.load))
    await loaded()
    clock.now = 1.0
    source.gate.set()
    assert await first == 1
    assert await cache.get("a", source.load) == 2


async def test_an_entry_that_cannot_be_loaded_anew_lives_out_its_time(
    cache: TtlCache[str, int | None], clock: Clock
) -> None:
    source = Source()
    await cache.get("a", source.load)
    source.error = OSError("away")
    clock.now = 0.9
    assert await cache.get("a", source.load) == 1
    await loaded()
    assert source.loads == 2
    clock.now = 1.0
    with pytest.raises(OSError, match="away"):
        await cache.get("a", source.load)


async def test_an_invalidation_while_it_is_loaded_anew_is_not_overwritten(
    cache: TtlCache[str, int | None], clock: Clock
) -> None:
    source = Source()
    await cache.get("a", source.load)
    clock.now = 0.6
    source.gate.clear()
    assert await cache.get("a", source.load) == 1
    await asyncio.sleep(0)
    cache.invalidate("a")
    source.gate.set()
    await loaded()
    assert await cache.get("a", source.load) == 3


@pytest.fixture
def lasting(clock: Clock) -> TtlCache[str, int | None]:
    cache: TtlCache[str, int | None] = TtlCache(ttl=1.0, outlast=60.0, clock=clock)
    cache.outlasting = True
    return cache


async def test_a_source_that_is_away_is_answered_for_until_it_is_back(
    lasting: TtlCache[str, int | None], clock: Clock
) -> None:
    source = Source()
    assert await lasting.get("a", source.load) == 1
    source.error = Unavailable("away")
    for clock.now in (1.5, 2.5, 59.5):
        assert await lasting.get("a", source.load) == 1
        await loaded()
    assert source.loads == 4, "it is asked each time"
    with pytest.raises(Unavailable):
        await lasting.get("b", source.load)
    clock.now = 60.5
    with pytest.raises(Unavailable):
        await lasting.get("a", source.load)
    source.error = None
    assert await lasting.get("a", source.load) == source.loads


async def test_only_absence_is_answered_for(lasting: TtlCache[str, int | None], clock: Clock) -> None:
    source = Source()
    await lasting.get("a", source.load)
    source.absent = True
    await lasting.get("none", source.load)
    clock.now = 2.0
    source.error = RuntimeError("a fault")
    with pytest.raises(RuntimeError):
        await lasting.get("a", source.load)
    source.error = Unavailable("away")
    with pytest.raises(Unavailable):
        await lasting.get("none", source.load)
    lasting.outlasting = False
    with pytest.raises(Unavailable):
        await lasting.get("a", source.load)


async def test_a_source_that_hangs_is_waited_for_once(
    lasting: TtlCache[str, int | None], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source()
    for key in ("a", "b"):
        await lasting.get(key, source.load)
    clock.now = 2.0
    source.gate.clear()
    monkeypatch.setattr(caching, "PATIENCE", 0.01)
    assert await lasting.get("a", source.load) == 1
    monkeypatch.setattr(caching, "PATIENCE", 3600.0)
    assert await lasting.get("b", source.load) == 2
    lasting.invalidate("b")
    waiting = asyncio.create_task(lasting.get("b", source.load))
    await loaded()
    assert not waiting.done()
    source.gate.set()
    assert await waiting == source.loads
    assert await lasting.get("a", source.load) == 3, "what was looked up meanwhile"


async def test_absent_values_are_few_and_push_out_nothing_else(cache: TtlCache[str, int | None]) -> None:
    source = Source()
    for key in "abc":
        await cache.get(key, source.load)
    source.absent = True
    for number in range(100):
        assert await cache.get(f"absent {number}", source.load) is None
    assert len(cache) == 3 + 2
    before = source.loads
    assert [await cache.get(key, source.load) for key in "abc"] == [1, 2, 3]
    assert await cache.get("absent 99", source.load) is None
    assert source.loads == before


async def test_what_came_to_be_is_no_longer_absent(cache: TtlCache[str, int | None], clock: Clock) -> None:
    source = Source()
    source.absent = True
    assert await cache.get("a", source.load) is None
    source.absent = False
    clock.now = 1.0
    assert await cache.get("a", source.load) == 2
    assert len(cache) == 1


async def test_the_oldest_go_first(cache: TtlCache[str, int | None]) -> None:
    source = Source()
    for key in "abcd":
        await cache.get(key, source.load)
    assert len(cache) == 3
    assert await cache.get("b", source.load) == 2
    assert await cache.get("a", source.load) == 5
