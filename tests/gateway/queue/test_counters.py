"""What a worker tells the others, and what it makes of their answer."""

import pytest

from chorus_gateway.queue.counters import AHEAD, Agreed, Counters, Entry


@pytest.fixture
def counters() -> Counters:
    return Counters(shared=True)


def test_what_is_charged_is_told_once(counters: Counters) -> None:
    counters.charge("a", 5.0)
    counters.charge("a", 2.0)
    assert counters.take((), 10) == {"a": Entry(7.0, 0.0)}
    counters.agree(Agreed({"a": 107.0}, None, 0.0))
    assert counters.values["a"] == 107.0
    assert not counters.unsettled
    assert counters.take(("a",), 10) == {"a": Entry(0.0, 107.0, waits=True)}


def test_what_comes_meanwhile_is_counted_on_top_and_told_next(counters: Counters) -> None:
    counters.charge("a", 5.0)
    counters.take((), 10)
    counters.charge("a", 3.0)
    counters.agree(Agreed({"a": 50.0}, None, 0.0))
    assert counters.values["a"] == 53.0
    assert counters.take((), 10) == {"a": Entry(3.0, 50.0)}


def test_what_nobody_answered_is_told_again_as_it_was(counters: Counters) -> None:
    counters.charge("a", 5.0)
    first = counters.take((), 10)
    counters.charge("a", 1.0)
    counters.charge("b", 1.0)
    assert counters.take((), 10) == first
    counters.agree(Agreed({"a": 5.0}, None, 0.0))
    assert counters.take((), 10) == {"a": Entry(1.0, 5.0), "b": Entry(1.0, 0.0)}


def test_a_value_never_falls(counters: Counters) -> None:
    counters.charge("a", 5.0)
    counters.take((), 10)
    counters.agree(Agreed({"a": 2.0}, None, 0.0))
    assert counters.values["a"] == 5.0


def test_who_returns_is_lifted_to_the_lowest_here_and_elsewhere(counters: Counters) -> None:
    counters.charge("a", 100.0)
    counters.agree(Agreed({}, 40.0, 0.0))
    counters.lift("new", 100.0)
    assert counters.values["new"] == 40.0 - AHEAD
    counters.lift("low", 30.0)
    assert counters.values["low"] == 30.0 - AHEAD
    counters.alone()
    counters.lift("later", 100.0)
    assert counters.values["later"] == 100.0 - AHEAD
    counters.served = 500.0
    counters.lift("last", None)
    assert counters.values["last"] == 500.0 - AHEAD
    assert counters.take((), 10)["last"] == Entry(0.0, 500.0 - AHEAD, returned=True)


def test_of_very_many_some_are_told_at_a_time(counters: Counters) -> None:
    for at in range(25):
        counters.charge(f"t{at}", 1.0)
    told = []
    while counters.unsettled:
        batch = counters.take((), 10)
        told.append(len(batch))
        counters.agree(Agreed({tenant: entry.known + entry.delta for tenant, entry in batch.items()}, None, 0.0))
    assert told == [10, 10, 5]


def test_counters_that_nobody_shares_are_kept_for_nobody() -> None:
    alone = Counters()
    alone.charge("a", 1.0)
    alone.lift("b", None)
    assert not alone.unsettled


def test_crumbs_of_fractions_are_given_back_after_all_was_delivered(counters: Counters) -> None:
    amounts = [guess / 7 for guess in range(1, 100)]
    for amount in amounts:
        counters.prepay("a", amount)
    for amount in amounts:
        counters.deliver("a", amount)
    assert "a" not in counters.prepaid
    counters.give_back("a", 1e-13)
    counters.check()
