"""What counts as a hang, by a clock set by hand."""

import logging
from dataclasses import replace

import pytest

from chorus_engine.loop import Pulse
from chorus_engine.watchdog import INTERVAL, Bounds, Watchdog


class Bench:
    def __init__(self) -> None:
        self.now = 100.0
        self.pulse = Pulse(beats=1, busy=False, longest=0.01)
        self.stalled: list[bool] = []
        self.hung = 0
        self.watchdog = Watchdog(
            lambda: self.pulse,
            Bounds(stall=10.0, hang=60.0),
            stalled=self.stalled.append,
            hung=self._hang,
            where=lambda: "in a kernel",
            clock=lambda: self.now,
        )

    def watch(self, seconds: float, **pulse: object) -> None:
        """For that long the loop's pulse is this."""
        self.pulse = replace(self.pulse, **pulse)  # type: ignore[arg-type]  # any of Pulse's
        for _ in range(round(seconds / INTERVAL)):
            self.now += INTERVAL
            self.watchdog.look()

    def _hang(self) -> None:
        self.hung += 1


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_loop_that_rests_is_sound(bench: Bench) -> None:
    bench.watch(1000)
    assert bench.stalled == []


def test_a_loop_whose_steps_end_is_sound(bench: Bench) -> None:
    for beats in range(2, 30):
        bench.watch(9, busy=True, beats=beats)
    assert bench.stalled == []


def test_silence_is_a_stall_and_its_end_is_told(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.watch(9, busy=True)
    assert bench.stalled == []
    bench.watch(3)
    assert bench.stalled == [True]
    bench.watch(1, beats=2)
    assert bench.stalled == [True, False]
    assert [record.message for record in caplog.records] == ["no step ends", "steps end again"]
    assert caplog.records[0].stack == "in a kernel"  # type: ignore[attr-defined]  # of `extra`


def test_a_hang_is_told_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.watch(59, busy=True)
    assert bench.hung == 0
    bench.watch(20)
    assert (bench.stalled, bench.hung) == ([True], 1)
    assert [record.levelno for record in caplog.records].count(logging.CRITICAL) == 1


def test_where_steps_are_long_silence_may_be_longer(bench: Bench) -> None:
    bench.watch(79, busy=True, longest=4.0)
    assert bench.stalled == []
    bench.watch(2)
    assert bench.stalled == [True]
    bench.watch(78)
    assert bench.hung == 0
    bench.watch(3)
    assert bench.hung == 1


def test_time_in_which_the_process_stood_still_does_not_count(bench: Bench) -> None:
    bench.watch(5, busy=True)
    bench.now += 3600
    bench.watch(INTERVAL)
    assert bench.stalled == []
