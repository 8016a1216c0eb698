"""Who is preempted first."""

from dataclasses import replace

import pytest

from chorus_engine.core.request import Band
from chorus_engine.scheduler.preemption import choose_victim, is_swap_cheaper
from chorus_engine.scheduler.sequence import Sequence
from tests.engine.scheduler.drive import SMALL, request

OLD = Sequence(request("old", max_tokens=50, arrival=1.0, counter=9.0), 1)
YOUNG = Sequence(request("young", max_tokens=50, arrival=2.0), 2)
YOUNGER = Sequence(request("younger", max_tokens=50, arrival=2.5), 7)
URGENT = Sequence(request("urgent", max_tokens=50, arrival=3.0, band=Band.PRIORITY), 3)
FLEX = Sequence(request("flex", max_tokens=50, arrival=0.0, band=Band.FLEX), 4)
ENDING = Sequence(request("ending", max_tokens=5, arrival=9.0, band=Band.FLEX), 5)
ENDING_TOO = Sequence(request("ending-too", max_tokens=2, arrival=8.0), 6)


def test_the_lowest_band_goes_first_whatever_its_counter() -> None:
    assert choose_victim([OLD, FLEX, URGENT]) is FLEX


def test_inside_a_band_the_greatest_counter_goes_first_whatever_its_age() -> None:
    assert choose_victim([OLD, YOUNG, URGENT]) is OLD


def test_of_equal_counters_the_youngest_goes_first() -> None:
    assert choose_victim([YOUNG, YOUNGER]) is YOUNGER


def test_what_is_within_five_tokens_of_its_end_is_spared() -> None:
    assert choose_victim([ENDING, URGENT, ENDING_TOO]) is URGENT


def test_when_all_are_near_their_end_the_rule_is_the_same() -> None:
    assert choose_victim([ENDING_TOO, ENDING]) is ENDING


@pytest.mark.parametrize(
    ("swap_seconds", "recompute_seconds", "cheaper"),
    [(1.0, 0.6, True), (1.0, 0.5, False), (0.0, 1.0, False), (1.0, 0.0, False)],
)
def test_swapping_is_chosen_when_both_ways_cost_less_than_computing_and_both_costs_are_known(
    swap_seconds: float, recompute_seconds: float, cheaper: bool
) -> None:
    capacity = replace(SMALL, swap_seconds=swap_seconds, recompute_seconds=recompute_seconds)
    assert is_swap_cheaper(capacity, blocks=2, tokens=8) is cheaper
