"""Host memory's bound, what gives way, and what stays."""

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chorus_engine.adapters.arena import ALIGNMENT
from chorus_engine.adapters.cache import HostCache
from chorus_engine.adapters.eviction import Demand, LeastRecentlyUsed
from tests.engine.adapters.build import held
from tests.support.often import often

UNIT = ALIGNMENT


class Bench:
    """A cache whose clock and needs are set by hand; sizes are in units."""

    def __init__(self, units: int, policy: type[Demand | LeastRecentlyUsed] = LeastRecentlyUsed) -> None:
        self.now = 0.0
        self.needed: set[str] = set()
        self.dropped: list[str] = []
        self.cache = HostCache(
            units * UNIT, policy(), self.needed.__contains__, self.dropped.append, clock=lambda: self.now
        )

    def put(self, digest: str, units: int = 1, *, spare: bool = False, requested: bool = True) -> bool:
        self.now += 1.0
        if requested:
            self.cache.missed(digest)
        if self.cache.reserve(digest, units * UNIT, spare=spare) is None:
            return False
        self.cache.put(held(digest, 0), 0.1, requested=requested)
        self.cache.check()
        return True

    def use(self, digest: str) -> None:
        self.now += 1.0
        self.cache.get(digest)


def test_the_least_recently_used_gives_way() -> None:
    bench = Bench(3)
    for digest in "abc":
        assert bench.put(digest)
    for digest in "acb":
        bench.use(digest)
        bench.use(digest)
    assert bench.put("d")
    assert bench.dropped == ["a"]


def test_what_is_asked_for_often_stays_under_demand() -> None:
    bench = Bench(2, Demand)
    assert bench.put("often")
    for _ in range(5):
        bench.use("often")
    for digest in "abc":
        assert bench.put(digest)
    assert bench.dropped == ["a", "b"]


def test_what_is_needed_pinned_or_being_written_stays() -> None:
    bench = Bench(4)
    for digest in ("needed", "pinned", "free"):
        bench.put(digest)
    bench.needed.add("needed")
    bench.cache.pin("pinned")
    assert bench.cache.reserve("coming", UNIT, spare=False) is not None
    assert bench.put("a")
    assert bench.dropped == ["free"]
    bench.needed.add("a")
    assert not bench.put("b"), "there is no room"
    assert bench.dropped == ["free"], "and nothing went for nothing"
    assert bench.cache.may_find_room()
    bench.needed.clear()
    bench.cache.release("coming")
    assert bench.put("b", 2)
    assert sorted(bench.dropped) == ["a", "free"]


def test_room_that_only_pins_have_is_never_found() -> None:
    bench = Bench(4)
    bench.put("a", 2)
    bench.cache.pin("a")
    assert not bench.put("b", 3)
    assert not bench.cache.may_find_room()


def test_only_what_is_in_the_way_goes() -> None:
    """Of the adapters worth least, those that lie elsewhere do not help a large one."""
    bench = Bench(6)
    for digest in "abcdef":
        bench.put(digest)
    for digest in "becfad":  # worth least: b, then e, c
        bench.use(digest)
        bench.use(digest)
    assert bench.put("large", 2)
    assert bench.dropped == ["b", "c"]
    assert "e" in bench.cache


def test_half_of_memory_may_be_pinned() -> None:
    bench = Bench(4)
    for digest in "abc":
        bench.put(digest)
    for digest in "ab":
        assert bench.cache.can_pin(UNIT)
        bench.cache.pin(digest)
    assert not bench.cache.can_pin(1)
    bench.cache.unpin("a")
    assert bench.cache.can_pin(UNIT)
    bench.cache.release("b")
    assert bench.cache.pinned == 0
    bench.cache.check()


def test_a_prefetch_takes_no_room_from_what_is_worth_more() -> None:
    bench = Bench(2, Demand)
    for digest in "ab":
        bench.put(digest)
        for _ in range(3):
            bench.use(digest)
    assert not bench.put("new", spare=True, requested=False)
    assert bench.dropped == []
    bench.now += 100_000.0
    assert bench.put("new", spare=True, requested=False), "long ago is worth little"


def test_a_reservation_is_kept_for_another_attempt() -> None:
    bench = Bench(4)
    first = bench.cache.reserve("a", UNIT, spare=False)
    assert bench.cache.reserve("a", UNIT, spare=False) == first
    other = bench.cache.reserve("a", 3 * UNIT, spare=False)
    assert other is not None
    assert other.bytes == 3 * UNIT
    bench.cache.check()
    assert "a" not in bench.cache
    with pytest.raises(KeyError):
        bench.cache.get("a")


def test_hits_and_misses_are_counted_once() -> None:
    bench = Bench(4)
    bench.put("a")
    bench.use("a")  # what it was fetched for
    assert (bench.cache.hits, bench.cache.misses) == (0, 1)
    bench.use("a")
    assert (bench.cache.hits, bench.cache.misses) == (1, 1)
    bench.put("prefetched", requested=False)
    bench.use("prefetched")
    assert (bench.cache.hits, bench.cache.misses) == (2, 1)


def test_changes_alone_are_told() -> None:
    bench = Bench(4)
    bench.put("a")
    bench.cache.changed.clear()
    bench.use("a")
    assert bench.cache.changed == set()
    bench.cache.pin("a")
    assert bench.cache.changed == {"a"}


DIGESTS = st.sampled_from("abcdefgh")


class CacheMachine(RuleBasedStateMachine):
    """Any order of what a supply does."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(16, Demand)
        self.reserved: set[str] = set()

    @rule(digest=DIGESTS, units=st.integers(1, 9), spare=st.booleans())
    def reserve(self, digest: str, units: int, spare: bool) -> None:
        cache, before = self.bench.cache, set(self.bench.needed)
        if digest not in cache:
            pinned = {digest for digest in "abcdefgh" if digest in cache and cache.is_pinned(digest)}
            kept = (before | pinned) & {digest for digest in "abcdefgh" if digest in cache}
            if cache.reserve(digest, units * UNIT, spare=spare) is not None:
                self.reserved.add(digest)
            else:
                self.reserved.discard(digest)
            assert kept <= {digest for digest in "abcdefgh" if digest in cache}

    @precondition(lambda self: self.reserved)
    @rule(data=st.data(), requested=st.booleans())
    def arrive(self, data: st.DataObject, requested: bool) -> None:
        digest = data.draw(st.sampled_from(sorted(self.reserved)))
        self.reserved.discard(digest)
        self.bench.cache.put(held(digest, 0), 0.1, requested=requested)

    @precondition(lambda self: self.reserved)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        digest = data.draw(st.sampled_from(sorted(self.reserved)))
        self.reserved.discard(digest)
        self.bench.cache.release(digest)

    @rule(digest=DIGESTS, seconds=st.floats(0, 100))
    def use(self, digest: str, seconds: float) -> None:
        self.bench.now += seconds
        if digest in self.bench.cache:
            self.bench.cache.get(digest)
        else:
            self.bench.cache.missed(digest)

    @rule(digest=DIGESTS)
    def pin_or_unpin(self, digest: str) -> None:
        cache = self.bench.cache
        if digest in cache and not cache.is_pinned(digest) and cache.can_pin(cache.size(digest)):
            cache.pin(digest)
        else:
            cache.unpin(digest)

    @rule(digest=DIGESTS)
    def need_or_not(self, digest: str) -> None:
        self.bench.needed ^= {digest}

    @rule(digest=DIGESTS)
    def drop(self, digest: str) -> None:
        if digest in self.bench.cache and not self.bench.cache.is_needed(digest):
            self.bench.cache.release(digest)

    @invariant()
    def conserved(self) -> None:
        self.bench.cache.check()
        memory = self.bench.cache.memory()
        assert 0 <= memory.used <= memory.total
        assert memory.pinned <= memory.pinnable


TestCache = CacheMachine.TestCase
TestCache.settings = settings(max_examples=often(50), stateful_step_count=40, deadline=None)
