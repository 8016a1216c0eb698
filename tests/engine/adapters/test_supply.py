"""Which fetches run, who gets room, and what becomes of commands."""

from collections.abc import Callable

import pytest
import torch

from chorus_engine.adapters.arena import ALIGNMENT, Span
from chorus_engine.adapters.cache import HostCache
from chorus_engine.adapters.eviction import Demand
from chorus_engine.adapters.fetches import MAX_FETCHES, MAX_PREFETCHES
from chorus_engine.adapters.host import HostAdapter, Weights
from chorus_engine.adapters.supply import ROOM_PATIENCE, AdapterSupply
from chorus_engine.core.errors import AdapterError, AdapterUnavailable, AdapterUnusable
from chorus_engine.core.spec import AdapterFootprint

UNIT = ALIGNMENT


class Bench:
    """A supply whose requests, fetches and clock are the test's; sizes are in units."""

    def __init__(self, units: int = 16) -> None:
        self.now = 0.0
        self.waiting: list[str] = []  # adapters that requests wait for, the first needed first
        self.needed: set[str] = set()  # besides
        self.started: list[tuple[str, bool]] = []
        self.hastened: list[str] = []
        self.dropped: list[str] = []
        self.answers: dict[str, int | AdapterError] = {}
        self.done: dict[str, list[str | None]] = {}
        self.cache = HostCache(
            units * UNIT,
            Demand(),
            needed=lambda digest: digest in self.needed or digest in self.waiting,
            dropped=self.dropped.append,
            clock=self._clock,
        )
        self.supply = AdapterSupply(
            self.cache,
            start=lambda digest, urgent: self.started.append((digest, urgent)),
            hasten=self.hastened.append,
            priority=lambda digest: self.waiting.index(digest) if digest in self.waiting else None,
            shape=_shape,
            clock=self._clock,
        )

    def want(self, *digests: str) -> None:
        for digest in digests:
            self.waiting.append(digest)
            self.supply.want(digest)

    def ask_room(self, digest: str, units: int = 1) -> int | AdapterError | None:
        def answer(found: int | AdapterError) -> None:
            self.answers[digest] = found

        self.supply.room(AdapterFootprint(digest, ()), units * UNIT, answer)
        return self.answers.get(digest)

    def arrive(self, digest: str) -> None:
        self.supply.arrived(digest)
        self.supply.check()

    def bring(self, digest: str, units: int = 1) -> None:
        """All the way, for a request that then has its slot."""
        self.want(digest)
        self.supply.pump()
        assert isinstance(self.ask_room(digest, units), int)
        self.arrive(digest)
        self.waiting.remove(digest)

    def prefetch(self, digest: str) -> None:
        self.supply.prefetch(digest, self.done.setdefault(digest, []).append)

    def pin(self, digest: str) -> None:
        self.supply.pin(digest, self.done.setdefault(digest, []).append)

    def state(self, digest: str) -> tuple[str, bool] | None:
        found = self.supply.get(digest)
        return None if found is None else (found.state, found.pinned)

    def _clock(self) -> float:
        self.now += 0.01
        return self.now


def _shape(footprint: AdapterFootprint, span: Span) -> HostAdapter:
    return HostAdapter(footprint.digest, footprint, Weights(torch.empty(0), {}))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_fetches_start_in_the_order_of_requests_whenever_it_changes(bench: Bench) -> None:
    bench.want(*"abcdef")
    bench.waiting = list("fedcba")
    bench.supply.pump()
    assert bench.started == [(digest, True) for digest in "fedcba"[:MAX_FETCHES]]
    bench.waiting = ["a", "b"]
    bench.supply.failed("f", AdapterUnavailable("away"))
    bench.supply.pump()
    assert bench.started[-1] == ("a", True)


def test_requests_go_before_prefetches(bench: Bench) -> None:
    for digest in "xyz":
        bench.prefetch(digest)
    bench.want(*"abcde")
    bench.supply.pump()
    assert [digest for digest, urgent in bench.started if urgent] == list("abcd")
    assert [digest for digest, urgent in bench.started if not urgent] == list("xyz")[:MAX_PREFETCHES]


def test_a_prefetch_that_a_request_waits_for_is_hastened(bench: Bench) -> None:
    bench.prefetch("x")
    bench.supply.pump()
    bench.want("x")
    bench.supply.pump()
    bench.supply.pump()
    assert (bench.started, bench.hastened) == ([("x", False)], ["x"])


def test_what_no_request_waits_for_any_more_is_fetched_as_a_prefetch(bench: Bench) -> None:
    bench.want("a")
    bench.waiting.clear()
    bench.supply.pump()
    assert bench.started == [("a", False)]


def test_room_is_found_later_when_what_is_needed_leaves() -> None:
    bench = Bench(2)
    bench.bring("a", 2)
    bench.needed.add("a")
    bench.want("b")
    bench.supply.pump()
    assert bench.ask_room("b") is None
    bench.supply.pump()
    assert bench.answers == {"a": 0}
    bench.needed.clear()
    bench.supply.pump()
    assert bench.answers["b"] == 0
    assert bench.dropped == ["a"]
    bench.arrive("b")


def test_the_first_request_in_order_gets_the_room() -> None:
    bench = Bench(1)
    bench.bring("held")
    bench.needed.add("held")
    bench.want("a", "b")
    bench.supply.pump()
    assert (bench.ask_room("a"), bench.ask_room("b")) == (None, None)
    bench.waiting = ["b", "a"]
    bench.needed.clear()
    bench.supply.pump()
    assert "b" in bench.answers
    assert "a" not in bench.answers


def test_a_large_adapter_that_waits_for_room_is_not_passed_for_ever() -> None:
    """Small ones that requests wait for come and get their slots all the time."""
    bench = Bench(4)
    bench.bring("a")
    bench.bring("b", 3)
    bench.needed |= {"a", "b"}
    bench.want("large")
    bench.supply.pump()
    assert bench.ask_room("large", 4) is None
    bench.want("small")
    bench.supply.pump()
    bench.needed.remove("b")
    assert isinstance(bench.ask_room("small"), int), "it may pass, for a while"
    bench.arrive("small")
    bench.now += ROOM_PATIENCE
    bench.want("another")
    bench.prefetch("courtesy")
    bench.supply.pump()
    assert (bench.ask_room("another"), bench.ask_room("courtesy")) == (None, None)
    bench.needed.clear()
    bench.waiting = ["another", "large"]
    bench.supply.pump()
    assert bench.answers["large"] == 0
    assert "another" not in bench.answers


def test_one_that_nobody_waits_for_any_more_stands_in_nobodys_way() -> None:
    bench = Bench(2)
    for digest in "ab":
        bench.bring(digest)
        bench.needed.add(digest)
    bench.want("large")
    bench.supply.pump()
    assert bench.ask_room("large", 2) is None
    bench.now += ROOM_PATIENCE
    bench.waiting = []
    bench.want("c")
    bench.needed.remove("b")
    bench.supply.pump()
    assert isinstance(bench.ask_room("c"), int)


def test_an_adapter_larger_than_host_memory_is_refused(bench: Bench) -> None:
    bench.want("a")
    bench.supply.pump()
    answer = bench.ask_room("a", 17)
    assert isinstance(answer, AdapterUnusable)
    assert f"takes {17 * UNIT} bytes of host memory; this engine has {16 * UNIT}" in str(answer)


def test_a_request_that_only_pins_stand_in_the_way_of_ends() -> None:
    bench = Bench(4)
    bench.bring("pinned", 2)
    bench.pin("pinned")
    bench.want("a")
    bench.supply.pump()
    answer = bench.ask_room("a", 3)
    assert isinstance(answer, AdapterUnavailable)
    assert "beside what is pinned" in str(answer)
    bench.supply.failed("a", answer)
    bench.supply.check()


def test_a_prefetch_ends_done(bench: Bench) -> None:
    bench.prefetch("a")
    bench.supply.pump()
    assert bench.state("a") == ("fetching", False)
    assert bench.ask_room("a") == 0
    assert bench.done["a"] == []
    bench.arrive("a")
    assert bench.done["a"] == [None]
    bench.prefetch("a")
    assert bench.done["a"] == [None, None], "what is there is there at once"


def test_a_prefetch_is_refused_when_what_is_worth_more_would_give_way() -> None:
    bench = Bench(1)
    bench.bring("held")
    for _ in range(3):
        bench.cache.get("held")
    bench.prefetch("a")
    bench.supply.pump()
    answer = bench.ask_room("a")
    assert isinstance(answer, AdapterUnavailable)
    bench.supply.failed("a", answer)
    assert bench.done["a"] == [str(answer)]
    assert "worth more" in str(answer)
    assert bench.dropped == []


def test_a_fetch_that_fails_says_so_to_its_commands_and_gives_its_room_back(bench: Bench) -> None:
    bench.prefetch("a")
    bench.pin("a")
    bench.supply.pump()
    bench.ask_room("a", 4)
    assert bench.supply.memory().used == 4 * UNIT
    bench.supply.failed("a", AdapterUnavailable("the store is away"))
    assert bench.done["a"] == ["the store is away"] * 2
    assert bench.supply.memory().used == 0
    assert bench.state("a") is None
    bench.supply.check()


def test_a_pin_fetches_and_keeps(bench: Bench) -> None:
    bench.pin("a")
    bench.supply.pump()
    assert bench.state("a") == ("fetching", True)
    bench.ask_room("a", 8)
    bench.arrive("a")
    assert bench.done["a"] == [None]
    assert bench.state("a") == ("ready", True)
    assert bench.supply.memory().pinned == 8 * UNIT
    bench.pin("a")
    assert bench.done["a"] == [None, None]
    bench.bring("b", 8)
    bench.bring("c", 8)
    assert bench.dropped == ["b"]
    bench.supply.unpin("a")
    bench.bring("d", 9)
    assert "a" in bench.dropped


def test_a_pin_beyond_half_of_memory_is_refused_with_the_numbers(bench: Bench) -> None:
    bench.pin("a")
    bench.supply.pump()
    bench.ask_room("a", 6)
    bench.arrive("a")
    bench.pin("b")
    bench.supply.pump()
    answer = bench.ask_room("b", 3)
    assert str(answer) == (
        f"adapter b takes {3 * UNIT} bytes; {6 * UNIT} are pinned and at most {8 * UNIT} may be, half of "
        "CHORUS_HOST_ADAPTER_MEMORY."
    )
    bench.bring("c", 3)
    bench.pin("c")
    assert "at most" in str(bench.done["c"][0])
    assert bench.state("c") == ("ready", False)


def test_a_pin_that_is_refused_does_not_harm_the_request_beside_it(bench: Bench) -> None:
    bench.pin("a")
    bench.want("a")
    bench.supply.pump()
    assert bench.ask_room("a", 9) == 0
    bench.arrive("a")
    assert "at most" in str(bench.done["a"][0])
    assert bench.state("a") == ("ready", False)


def test_an_unpin_ends_the_pin_that_is_on_its_way(bench: Bench) -> None:
    bench.pin("a")
    bench.supply.pump()
    bench.supply.unpin("a")
    assert "removed before" in str(bench.done["a"][0])
    bench.ask_room("a")
    bench.arrive("a")
    assert bench.state("a") == ("ready", False)


def test_only_what_nothing_needs_is_dropped(bench: Bench) -> None:
    assert bench.supply.drop("unknown")
    bench.bring("a")
    bench.needed.add("a")
    assert not bench.supply.drop("a")
    bench.needed.clear()
    bench.pin("a")
    assert not bench.supply.drop("a")
    bench.supply.unpin("a")
    assert bench.supply.drop("a")
    assert (bench.dropped, bench.state("a")) == (["a"], None)
    bench.prefetch("b")
    assert not bench.supply.drop("b"), "it is being fetched"


def test_another_attempt_writes_where_the_first_did(bench: Bench) -> None:
    bench.want("a", "b")
    bench.supply.pump()
    first = bench.ask_room("a", 2)
    bench.ask_room("b", 2)
    assert bench.ask_room("a", 2) == first
    bench.arrive("a")
    bench.arrive("b")


def test_every_change_is_told_once(bench: Bench) -> None:
    acts: tuple[Callable[[], object], ...] = (
        lambda: bench.prefetch("a"),
        bench.supply.pump,
        lambda: bench.ask_room("a"),
        lambda: bench.arrive("a"),
        lambda: bench.pin("a"),
        lambda: bench.supply.unpin("a"),
        lambda: bench.supply.drop("a"),
    )
    for act in acts:
        act()
        assert bench.supply.take_changed() == {"a"}
    assert bench.supply.take_changed() == set()
    assert bench.supply.get("a") is None
