"""Host memory's bound, and what it spares."""

from chorus_engine.adapters import AdapterSupply, HostCache
from chorus_engine.adapters.supply import MAX_FETCHES
from tests.engine.adapters.build import held


def nobody(digest: str) -> bool:
    return False


def everybody(digest: str) -> bool:
    return True


def test_the_least_recently_used_gives_way() -> None:
    cache = HostCache(30)
    for digest in "abc":
        assert cache.put(held(digest, 10), nobody) == ()
    cache.get("a")
    assert cache.put(held("d", 15), nobody) == ("b", "c")
    assert (cache.bytes, len(cache)) == (25, 2)
    cache.check()


def test_what_is_needed_is_spared_even_past_the_bound() -> None:
    cache = HostCache(20)
    cache.put(held("a", 10), nobody)
    cache.put(held("b", 10), nobody)
    assert cache.put(held("c", 10), lambda digest: digest == "a") == ("b",)
    assert cache.put(held("d", 10), everybody) == ()
    assert cache.bytes == 30
    assert cache.full(everybody)
    assert not cache.full(nobody)
    cache.check()


def test_holdings_tell_the_last_use() -> None:
    times = iter([1.0, 2.0, 5.0])
    cache = HostCache(100, clock=lambda: next(times))
    cache.put(held("a", 1), nobody)
    cache.put(held("b", 1), nobody)
    cache.get("a")
    assert cache.holdings() == (("b", 2.0), ("a", 5.0))


def test_fetches_start_in_order_and_few_at_once() -> None:
    started: list[str] = []
    supply = AdapterSupply(HostCache(100), started.append)
    for digest in "abcdef":
        supply.want(digest)
    supply.pump(everybody)
    assert "".join(started) == "abcdef"[:MAX_FETCHES]
    supply.failed("b")
    supply.arrived(held("a", 10), everybody)
    supply.pump(everybody)
    assert "".join(started) == "abcdef"[: MAX_FETCHES + 2]


def test_nothing_is_fetched_while_memory_holds_only_what_is_needed() -> None:
    started: list[str] = []
    supply = AdapterSupply(HostCache(10), started.append)
    supply.want("a")
    supply.pump(everybody)
    supply.arrived(held("a", 10), everybody)
    supply.want("b")
    supply.pump(everybody)
    assert started == ["a"]
    supply.pump(nobody)
    assert started == ["a", "b"]
