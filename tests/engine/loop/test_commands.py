"""What the placer asks of slots and host memory, on a loop that runs."""

import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace

import pytest

from chorus_engine.core.commands import Outcome, Status, Verb
from chorus_engine.core.errors import AdapterNotFound
from chorus_engine.core.load import SlotState, Tier
from tests.engine.loop.bench import CAPACITY, SECONDS, Bench, request

TWO_SLOTS = replace(CAPACITY, max_adapters=2, adapter_pages=2, max_lora_rank=8)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench(capacity=TWO_SLOTS)
    yield bench
    bench.loop.ask(bench.check).result(SECONDS)
    bench.loop.stop()


def end(outcome: "Future[Outcome]") -> Outcome:
    return outcome.result(SECONDS)


def bring(bench: Bench, digest: str, rank: int = 8) -> None:
    """The fetch that was begun."""
    assert bench.wanted.get(timeout=SECONDS) == digest
    bench.bring(digest, rank)


def serve(bench: Bench, digest: str) -> None:
    """A request for it, from none of it to the end."""
    name = f"{digest}-{time.monotonic()}"
    bench.loop.submit(request(name, adapter=digest))
    if digest not in bench.cache:
        bring(bench, digest)
    bench.end_of(name)


def done(bench: Bench, verb: Verb, digest: str, tier: Tier = Tier.GPU) -> None:
    outcome = bench.obey(verb, digest, tier)
    if digest not in bench.cache and verb in (Verb.PREFETCH, Verb.PIN):
        bring(bench, digest)
    assert end(outcome) == Outcome(Status.DONE)
    bench.settle()


def test_prefetch_into_host_memory(bench: Bench) -> None:
    done(bench, Verb.PREFETCH, "x", Tier.HOST)
    assert (bench.held["x"].tier, bench.held["x"].state) == (Tier.HOST, SlotState.READY)
    done(bench, Verb.PREFETCH, "x", Tier.HOST)
    assert bench.wanted.empty()


def test_prefetch_into_a_slot_and_its_first_request_waits_for_nothing(bench: Bench) -> None:
    done(bench, Verb.PREFETCH, "x")
    assert (bench.held["x"].tier, bench.held["x"].state) == (Tier.GPU, SlotState.READY)
    plans = len(bench.runner.plans)
    bench.loop.submit(request("a", adapter="x", max_tokens=1))
    bench.end_of("a")
    assert len(bench.runner.plans) == plans + 1
    assert bench.loads[-1].gpu_hits == 1


def test_a_fetch_that_fails_fails_the_command_alone(bench: Bench) -> None:
    outcome = bench.obey(Verb.PREFETCH, "x")
    bench.wanted.get(timeout=SECONDS)
    bench.loop.adapter_failed("x", AdapterNotFound("there is none."))
    assert end(outcome) == Outcome(Status.FAILED, "there is none.")
    serve(bench, "y")


def test_host_memory_pins_half_of_itself_at_most_and_says_so() -> None:
    bench = Bench(adapters=2)
    done(bench, Verb.PIN, "x", Tier.HOST)
    assert bench.held["x"].pinned is Tier.HOST
    done(bench, Verb.PREFETCH, "y", Tier.HOST)
    outcome = end(bench.obey(Verb.PIN, "y", Tier.HOST))
    assert outcome.status is Status.REFUSED
    assert "half of CHORUS_HOST_ADAPTER_MEMORY" in outcome.reason
    bench.loop.stop()


def test_a_prefetch_takes_no_slot_of_an_adapter_that_is_worth_more(bench: Bench) -> None:
    serve(bench, "x")
    serve(bench, "y")
    outcome = bench.obey(Verb.PREFETCH, "z")
    bring(bench, "z")
    assert end(outcome).status is Status.REFUSED
    assert "0 slots are free" in end(outcome).reason
    assert bench.in_slots() == {"x", "y"}
    assert bench.held["z"].tier is Tier.HOST


def test_a_pin_takes_an_idle_slot_whatever_it_is_worth_and_keeps_it(bench: Bench) -> None:
    serve(bench, "x")
    serve(bench, "y")
    done(bench, Verb.PIN, "z")
    assert bench.held["z"].pinned is Tier.GPU
    for digest in ("x", "y", "x", "y"):
        serve(bench, digest)
    bench.settle()
    assert bench.held["z"].tier is Tier.GPU
    done(bench, Verb.UNPIN, "z")
    assert bench.held["z"].pinned is None


def test_pins_take_half_of_the_slots_at_most_and_say_so(bench: Bench) -> None:
    done(bench, Verb.PIN, "x")
    outcome = bench.obey(Verb.PIN, "y")
    bring(bench, "y")
    assert end(outcome) == Outcome(Status.REFUSED, "1 of 2 slots are pinned, and at most half may be.")
    done(bench, Verb.PIN, "x")


def test_an_adapter_larger_than_the_pool_is_refused(bench: Bench) -> None:
    outcome = bench.obey(Verb.PREFETCH, "x")
    bring(bench, "x", rank=64)
    assert end(outcome).status is Status.REFUSED
    assert "rank 64" in end(outcome).reason


def test_a_pin_waits_for_a_slot_and_an_unpin_ends_it(bench: Bench) -> None:
    bench.runner.seconds = 0.05
    for digest in ("x", "y"):
        bench.loop.submit(request(digest, adapter=digest, max_tokens=90))
        bring(bench, digest)
    waits = bench.obey(Verb.PIN, "z")
    bring(bench, "z")
    same = bench.obey(Verb.PIN, "z")
    time.sleep(0.2)
    assert not waits.done()
    assert end(bench.obey(Verb.UNPIN, "z")).status is Status.DONE
    assert end(waits) == end(same) == Outcome(Status.REFUSED, "it was unpinned meanwhile.")
    late = bench.obey(Verb.PIN, "z", until=time.monotonic() + 0.1)
    assert "its time was over" in end(late).reason
    patient = bench.obey(Verb.PIN, "z")
    bench.loop.cancel("x")
    assert end(patient).status is Status.DONE


def test_a_drain_ends_with_the_last_request_and_who_waits_has_it_loaded_anew(bench: Bench) -> None:
    bench.runner.seconds = 0.01
    bench.loop.submit(request("runs", adapter="x", max_tokens=40))
    bring(bench, "x")
    while not bench.runner.plans or not bench.runner.plans[-1].rows:
        time.sleep(0.01)
    drained = bench.obey(Verb.DRAIN, "x")
    bench.loop.submit(request("waits", adapter="x"))
    assert bench.end_of("runs")[1] == [7] * 40
    assert end(drained).status is Status.DONE
    assert bench.end_of("waits")[1] == [7] * 5
    assert bench.loads[-1].adapter_loads == 2
    assert "x" in bench.cache


def test_a_drain_of_host_memory_takes_both(bench: Bench) -> None:
    serve(bench, "x")
    done(bench, Verb.DRAIN, "x", Tier.HOST)
    assert "x" not in bench.held
    assert "x" not in bench.cache


def test_what_is_pinned_is_not_drained(bench: Bench) -> None:
    done(bench, Verb.PIN, "x")
    assert end(bench.obey(Verb.DRAIN, "x")) == Outcome(Status.REFUSED, "it is pinned; unpin it first.")
    done(bench, Verb.PIN, "y", Tier.HOST)
    assert end(bench.obey(Verb.DRAIN, "y", Tier.HOST)).status is Status.REFUSED


def test_more_commands_than_are_kept_are_refused(bench: Bench) -> None:
    outcomes = [bench.obey(Verb.PREFETCH, f"x{i}", Tier.HOST) for i in range(300)]
    refused = [end(outcome) for outcome in outcomes[256:]]
    assert {outcome.status for outcome in refused} == {Status.REFUSED}
    assert "256 commands are under way" in refused[0].reason
    for _ in range(256):
        bench.loop.adapter_failed(bench.wanted.get(timeout=SECONDS), AdapterNotFound("there is none."))
    assert all(end(outcome).status is Status.FAILED for outcome in outcomes[:256])


def test_commands_to_an_engine_that_broke_fail(bench: Bench) -> None:
    bench.runner.error = ValueError("a kernel broke")
    bench.loop.submit(request("a"))
    bench.end_of("a")
    assert end(bench.obey(Verb.PREFETCH, "x")).status is Status.FAILED
    bench.runner.error = None
