"""Who is preempted first."""

from chorus_engine.core.request import Band
from chorus_engine.scheduler.preemption import choose_victim
from chorus_engine.scheduler.sequence import Sequence
from tests.engine.scheduler.drive import request

OLD = Sequence(request("old", max_tokens=50, arrival=1.0, counter=9.0), 1)
YOUNG = Sequence(request("young", max_tokens=50, arrival=2.0), 2)
URGENT = Sequence(request("urgent", max_tokens=50, arrival=3.0, band=Band.PRIORITY), 3)
FLEX = Sequence(request("flex", max_tokens=50, arrival=0.0, band=Band.FLEX), 4)
ENDING = Sequence(request("ending", max_tokens=5, arrival=9.0, band=Band.FLEX), 5)
ENDING_TOO = Sequence(request("ending-too", max_tokens=2, arrival=8.0), 6)


def test_the_lowest_band_goes_first_whatever_its_age() -> None:
    assert choose_victim([OLD, FLEX, URGENT]) is FLEX


def test_inside_a_band_the_youngest_goes_first_whatever_its_counter() -> None:
    assert choose_victim([OLD, YOUNG, URGENT]) is YOUNG


def test_what_is_within_five_tokens_of_its_end_is_spared() -> None:
    assert choose_victim([ENDING, URGENT, ENDING_TOO]) is URGENT


def test_when_all_are_near_their_end_the_rule_is_the_same() -> None:
    assert choose_victim([ENDING_TOO, ENDING]) is ENDING
