"""What gives way: within the law whatever is asked, and better than the oldest on a trace of a few loved adapters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.slots.trace import rank_of, trace
from chorus_adapter_store.blobs import Eviction, Policy
from chorus_adapter_store.blobs import eviction as module

POLICIES = pytest.mark.parametrize("policy", list(Policy))


class Room:
    """A bounded room as its owner keeps it."""

    def __init__(self, policy: Policy, capacity: int) -> None:
        self.eviction = Eviction(policy)
        self.capacity = capacity
        self.held: dict[str, int] = {}
        self.hits = self.asked = 0

    def ask(self, key: str, size: int, now: float) -> tuple[str, ...] | None:
        self.eviction.asked(key, now)
        self.asked += 1
        if key in self.held:
            self.hits += 1
            return ()
        victims = None
        if size <= self.capacity:
            victims = self.eviction.victims(key, size, sum(self.held.values()) + size - self.capacity)
        if victims is not None:
            for victim in victims:
                del self.held[victim]
                self.eviction.release(victim)
            self.held[key] = size
            self.eviction.hold(key, size)
        return victims


@POLICIES
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), max_size=200))
def test_victims_are_held_make_room_and_are_named_once(policy: Policy, asked: list[tuple[int, int]]) -> None:
    room = Room(policy, 100)
    now = 0.0
    for key, pause in asked:
        now += pause
        before = dict(room.held)
        victims = room.ask(f"k{key}", 10 + 7 * key, now)
        assert sum(room.held.values()) <= 100
        if victims is None:
            assert room.held == before
        else:
            assert len(set(victims)) == len(victims)
            assert set(victims) <= before.keys()


def test_lru_evicts_the_oldest_whatever_its_worth() -> None:
    room = Room(Policy.LRU, 3)
    for now, key in enumerate("aaaabbbc"):
        room.ask(key, 1, float(now))
    assert room.ask("d", 1, 9.0) == ("a",)


def test_demand_keeps_what_is_asked_for_often_until_it_is_not() -> None:
    room = Room(Policy.DEMAND, 3)
    for now, key in enumerate("aaaabbbbcc"):
        room.ask(key, 1, float(now))
    assert [room.ask("d", 1, 10.0 + now) for now in range(2)] == [None, ("c",)]
    later = 20 * module._HALF_LIFE
    assert room.ask("e", 1, later) == ("d",)


def test_of_two_asked_for_alike_the_larger_gives_way() -> None:
    room = Room(Policy.DEMAND, 101 << 20)
    room.ask("small", 1 << 20, 0.0)
    room.ask("large", 100 << 20, 0.0)
    room.ask("new", 1 << 20, 1.0)
    assert room.held.keys() == {"small", "new"}


def test_what_is_remembered_is_bounded_and_what_is_held_can_always_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 50)
    room = Room(Policy.DEMAND, 10)
    for now in range(1000):
        room.ask(f"k{now}", 1, now * module._HALF_LIFE)
        assert f"k{now}" in room.held
    assert len(room.eviction._weights) == 50
    assert len(room.eviction._order) < 200


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_demand_beats_lru_on_a_skewed_trace(alpha: float) -> None:
    sizes = {index: rank_of(index) * 20_000 for index in range(1000)}
    rates = {}
    for policy in Policy:
        room = Room(policy, sum(sizes.values()) // 10)
        for arrival in trace(1, alpha=alpha, rate=20, seconds=1000):
            index = arrival.adapter_index
            room.ask(str(index), sizes[index], arrival.at)
        rates[policy] = room.hits / room.asked
    assert rates[Policy.DEMAND] > 1.1 * rates[Policy.LRU], rates
