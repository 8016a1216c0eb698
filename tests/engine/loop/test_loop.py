"""The loop with the real scheduler and a runner that answers at once."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from chorus_engine.core.errors import AdapterNotFound, AdapterUnavailable, AdapterUnusable, InvalidRequest
from chorus_engine.core.load import SlotState, Tier
from chorus_engine.core.request import FinishReason
from tests.engine.loop.bench import CAPACITY, SECONDS, Bench, eventually, request


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.loop.stop()


def test_a_request_runs_to_its_end(bench: Bench) -> None:
    bench.loop.submit(request("a"))
    output, tokens = bench.end_of("a")
    assert output.finish is FinishReason.LENGTH
    assert tokens == [7] * 5
    assert len(bench.steps) == len(bench.runner.plans)
    bench.loop.ask(bench.scheduler.check).result(SECONDS)


def test_an_idle_loop_wakes(bench: Bench) -> None:
    time.sleep(0.3)
    bench.loop.submit(request("a", max_tokens=1))
    bench.end_of("a")  # nothing but the submit can have woken it


def test_the_last_load_told_is_that_of_an_idle_engine(bench: Bench) -> None:
    bench.loop.submit(request("a"))
    bench.end_of("a")
    bench.loop.ask(lambda: None).result(SECONDS)
    assert (bench.loads[-1].running, bench.loads[-1].waiting) == (0, 0)
    assert bench.loads[-1].free_blocks == CAPACITY.num_blocks


def test_a_request_that_cannot_be_served_fails_alone(bench: Bench) -> None:
    bench.loop.submit(request("long", max_tokens=1000))
    bench.loop.submit(request("good"))
    output, _ = bench.end_of("long")
    assert isinstance(output.error, InvalidRequest)
    assert bench.end_of("good")[1] == [7] * 5


def test_cancel_takes_effect_before_the_next_step(bench: Bench) -> None:
    bench.runner.seconds = 0.05
    bench.loop.submit(request("a", max_tokens=90))
    eventually(lambda: len(bench.runner.plans) > 3)
    bench.loop.cancel("a")
    bench.loop.cancel("unknown")
    output, tokens = bench.end_of("a")
    assert output.finish is FinishReason.CANCELLED
    assert 0 < len(tokens) < 90


def test_a_deadline_ends_a_request_while_nothing_runs(bench: Bench) -> None:
    now = time.monotonic()
    bench.loop.submit(request("a", adapter="ab", deadline=now + 0.1))
    output, tokens = bench.end_of("a")
    assert output.finish is FinishReason.DEADLINE
    assert tokens == []
    assert time.monotonic() - now >= 0.1


def test_an_adapter_is_wanted_once_and_brings_its_requests_to_run(bench: Bench) -> None:
    for name in "ab":
        bench.loop.submit(request(name, adapter="xy"))
    assert bench.wanted.get(timeout=SECONDS) == "xy"
    bench.loop.submit(request("base"))
    assert bench.end_of("base")[1] == [7] * 5
    bench.bring("xy")
    assert bench.end_of("a")[1] == bench.end_of("b")[1] == [7] * 5
    assert bench.wanted.empty()


def test_an_adapter_that_fails_ends_its_requests_alone(bench: Bench) -> None:
    bench.loop.submit(request("a", adapter="xy"))
    bench.wanted.get(timeout=SECONDS)
    error = AdapterNotFound("there is none.")
    bench.loop.adapter_failed("xy", error)
    assert bench.end_of("a")[0].error is error
    bench.loop.submit(request("base"))
    assert bench.end_of("base")[1] == [7] * 5


def test_an_adapter_larger_than_the_pool_ends_its_requests(bench: Bench) -> None:
    bench.loop.submit(request("a", adapter="xy"))
    bench.wanted.get(timeout=SECONDS)
    bench.bring("xy", rank=64)
    assert isinstance(bench.end_of("a")[0].error, AdapterUnusable)


def test_an_adapter_that_host_memory_dropped_is_wanted_again() -> None:
    bench = Bench(adapters=1)
    for digest in ("one", "two", "one"):
        bench.loop.submit(request(digest, adapter=digest))
        assert bench.wanted.get(timeout=SECONDS) == digest
        bench.bring(digest)
        assert bench.end_of(digest)[1] == [7] * 5
    bench.loop.ask(bench.cache.check).result(SECONDS)
    bench.loop.stop()


def test_a_step_that_fails_ends_every_request_and_says_so(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.loop.submit(request("waits", adapter="xy"))
    bench.wanted.get(timeout=SECONDS)
    bench.runner.error = ValueError("a kernel broke")
    bench.loop.submit(request("runs"))
    for name in ("waits", "runs"):
        output, _ = bench.end_of(name)
        assert output.finish is FinishReason.ERROR
        assert isinstance(output.error, RuntimeError)
    assert bench.broken.wait(SECONDS)
    assert "a kernel broke" in caplog.text
    with pytest.raises(AdapterUnavailable, match="restarts"):
        bench.bring("xy")
    bench.loop.adapter_arrived("xy")
    bench.loop.cancel("runs")
    bench.loop.submit(request("late"))
    assert isinstance(bench.end_of("late")[0].error, RuntimeError), "no request is left without an end"


def test_questions_are_answered_between_steps(bench: Bench) -> None:
    assert bench.loop.ask(lambda: threading.current_thread().name).result(SECONDS) == "engine-loop"

    def fail() -> None:
        raise KeyError("no answer")

    with pytest.raises(KeyError):
        bench.loop.ask(fail).result(SECONDS)
    assert bench.loop.ask(lambda: 1).result(SECONDS) == 1


@pytest.mark.parametrize("threads", [8])
def test_many_threads_may_submit_and_cancel(bench: Bench, threads: int) -> None:
    def work(number: int) -> Callable[[], None]:
        def run() -> None:
            for i in range(20):
                bench.loop.submit(request(f"{number}-{i}", max_tokens=3))
                if i % 3 == 0:
                    bench.loop.cancel(f"{number}-{i}")

        return run

    workers = [threading.Thread(target=work(number)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    ends = [bench.end_of(f"{number}-{i}")[0].finish for number in range(threads) for i in range(20)]
    assert set(ends) <= {FinishReason.LENGTH, FinishReason.CANCELLED}
    assert ends.count(FinishReason.LENGTH) >= threads * 13
    bench.loop.ask(bench.scheduler.check).result(SECONDS)


def test_what_is_held_is_told_as_it_changes(bench: Bench) -> None:
    bench.loop.submit(request("a", adapter="xy"))
    bench.wanted.get(timeout=SECONDS)
    bench.settle()
    coming = bench.held["xy"]
    assert (coming.tier, coming.state, coming.hosted) == (Tier.HOST, SlotState.LOADING, False)
    bench.bring("xy")
    bench.end_of("a")
    bench.settle()
    held = bench.held["xy"]
    assert (held.tier, held.state, held.pages, held.leases, held.hosted) == (Tier.GPU, SlotState.READY, 1, 0, True)
    states = [each for told in bench.told if (each := told.get("xy")) is not None]
    assert [(each.tier, each.leases) for each in states][-2:] == [(Tier.GPU, 1), (Tier.GPU, 0)]
    count = len(bench.told)
    bench.loop.submit(request("base"))
    bench.end_of("base")
    bench.settle()
    assert len(bench.told) == count, "steps without a change tell nothing"


def test_a_pulse_beats_with_steps_and_rests(bench: Bench) -> None:
    bench.settle()
    before = bench.loop.pulse()
    bench.loop.submit(request("a"))
    bench.end_of("a")
    bench.settle()
    time.sleep(0.05)
    after = bench.loop.pulse()
    assert after.beats >= before.beats + 5
    assert not after.busy
    assert "_take_in" in bench.loop.stack()


def test_a_pulse_stands_still_while_a_step_hangs(bench: Bench) -> None:
    bench.runner.seconds = 1.5
    bench.loop.submit(request("a", max_tokens=1))
    eventually(lambda: "launch" in bench.loop.stack())
    first = bench.loop.pulse()
    time.sleep(0.1)
    assert first == bench.loop.pulse()
    assert first.busy
    assert "launch" in bench.loop.stack()
    bench.end_of("a")
    bench.settle()
    assert bench.loop.pulse().longest >= 0.5
