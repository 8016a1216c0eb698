"""When an engine is ejected and when it comes back, on a clock that the test moves."""

import pytest

from chorus_gateway.routing.ejection import Ejector
from chorus_gateway.routing.health import EjectionRules, Health
from chorus_gateway.routing.member import Member
from chorus_gateway.routing.promises import Promises
from chorus_gateway.routing.view import View
from tests.gateway.support.members import member

RULES = EjectionRules(in_a_row=3, least=10, window=10, burst=0.1, first_away=5, longest_away=18, forgotten=100)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(RULES, clock)


def fails(health: Health, clock: Clock, times: int = 1) -> list[bool]:
    answers = []
    for _ in range(times):
        clock.now += 0.2
        answers.append(health.failed())
    return answers


def admits(health: Health) -> bool:
    return health.admits


def test_failures_in_a_row(health: Health, clock: Clock) -> None:
    assert fails(health, clock, 2) == [False, False]
    health.answered()
    assert fails(health, clock, 3) == [False, False, True]


def test_a_step_that_fails_all_its_requests_has_failed_once(health: Health, clock: Clock) -> None:
    assert not any(health.failed() for _ in range(64))
    assert fails(health, clock, 2) == [False, True]


def test_half_of_the_answers_of_a_while(health: Health, clock: Clock) -> None:
    told = []
    for _ in range(6):
        health.answered()
        told += fails(health, clock)
    assert told == [False, False, False, False, True, True]  # ten answers by then


def test_failures_of_long_ago_do_not_count(health: Health, clock: Clock) -> None:
    for _ in range(4):
        health.answered()
        fails(health, clock)
    clock.now += 3 * RULES.window
    health.answered()
    assert fails(health, clock) == [False]


def test_one_request_tries_it(health: Health, clock: Clock) -> None:
    assert health.eject() == 5
    assert not admits(health)
    clock.now += 5
    assert admits(health)
    assert health.sent(), "it is the trial"
    assert not admits(health), "and the only one"
    assert not health.answered(trial=False), "an older request's answer says nothing"
    assert health.answered(trial=True)
    assert admits(health)
    assert not health.sent()


def test_a_trial_that_fails_ejects_for_longer(health: Health, clock: Clock) -> None:
    for seconds in (5, 10, 18, 18):
        assert health.eject() == seconds
        clock.now += seconds
        assert health.sent()
        assert not health.failed(trial=False)
        assert health.failed(trial=True)
    health.eject()
    clock.now += 18
    health.sent()
    health.answered(trial=True)
    clock.now += RULES.forgotten + 1
    assert health.eject() == 5


def test_a_trial_whose_client_goes_is_no_verdict(health: Health, clock: Clock) -> None:
    health.eject()
    clock.now += 5
    assert health.sent()
    health.withdrawn(trial=False)
    assert not admits(health)
    health.withdrawn(trial=True)
    assert admits(health)
    assert health.ejected


@pytest.fixture
def engines(clock: Clock) -> list[Member]:
    found = [member("one"), member("two")]
    for each in found:
        each.health = Health(RULES, clock)
    return found


def takers(engines: list[Member]) -> list[str]:
    return [each.id for each in View(engines, Promises()).takers]


def test_the_last_engine_is_never_ejected(engines: list[Member], clock: Clock) -> None:
    changed: list[str] = []
    ejector = Ejector(lambda model: engines, lambda each: changed.append(each.id))
    for engine in engines * 2:
        for _ in range(RULES.in_a_row):
            clock.now += 0.2
            ejector.failed(engine, trial=False)
    assert changed == ["one"]
    assert takers(engines) == ["two"]
    engines[1].drained = True
    assert takers(engines) == ["one"], "an ejected engine is better than none"
    engines[1].drained = False
    clock.now += 5
    assert takers(engines) == ["one", "two"]
    ejector.answered(engines[0], engines[0].health.sent())
    assert changed == ["one", "one"]


def test_an_engine_may_fail_for_days(health: Health) -> None:
    assert [health.eject() for _ in range(2000)][-1] == RULES.longest_away
