import random

import pytest

from benchmarks.slots import catalog as module
from benchmarks.slots.catalog import ABSENT, GRACE, Catalog


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def test_a_request_may_have_met_what_was_there_a_moment_ago(clock: Clock) -> None:
    catalog = Catalog(random.Random(0))
    catalog.uploaded("a", 1, "one")
    clock.now += 10
    catalog.uploaded("a", 2, "two")
    target = catalog.entries["a"].latest
    assert target.allowed(clock.now + GRACE / 2) == {"one", "two"}
    assert target.allowed(clock.now + GRACE) == {"two"}


def test_a_change_while_a_request_runs_allows_both(clock: Clock) -> None:
    catalog = Catalog(random.Random(0))
    catalog.uploaded("a", 1, "one")
    clock.now += 10
    asked, target = clock.now, catalog.entries["a"].latest
    before = target.allowed(asked)
    clock.now += 0.1
    catalog.deleted("a")
    assert before == {"one"}
    assert target.allowed(asked) == {"one", ABSENT}


def test_a_name_that_was_given_up_is_not_judged(clock: Clock) -> None:
    catalog = Catalog(random.Random(0))
    catalog.uploaded("a", 1, "one")
    target = catalog.entries["a"].latest
    catalog.give_up("a")
    assert target.unsure
    assert catalog.any() is None


def test_new_names_are_new(clock: Clock) -> None:
    catalog = Catalog(random.Random(0))
    assert len({catalog.fresh() for _ in range(5)}) == 5
