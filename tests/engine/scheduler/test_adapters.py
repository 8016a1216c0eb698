"""How requests, adapters and slots meet, one rule a test."""

from dataclasses import replace

import pytest

from chorus_engine.core.errors import AdapterNotFound, AdapterUnusable, InvalidRequest
from chorus_engine.core.load import SlotState
from chorus_engine.core.plan import ModulePages, SlotLoad
from chorus_engine.core.request import Band, FinishReason
from tests.engine.scheduler.drive import SMALL, Drive, footprint, request
from tests.engine.scheduler.fake_runner import answer

ONE_SLOT = replace(SMALL, max_adapters=1)


def admitted(drive: Drive) -> list[str]:
    return [admission.request_id for plan in drive.plans for admission in plan.admit]


def states(drive: Drive) -> dict[str, tuple[SlotState, int]]:
    return {each.digest: (each.state, each.leases) for each in drive.scheduler.residency()}


def test_an_adapter_is_wanted_once_until_it_fails_or_is_evicted() -> None:
    scheduler = Drive().scheduler
    scheduler.add(request("a", adapter="x", arrival=1.0))
    scheduler.add(request("b", adapter="y", band=Band.PRIORITY, arrival=2.0))
    scheduler.add(request("c", adapter="x", arrival=3.0))
    assert scheduler.wanted_adapters() == ("y", "x")
    assert scheduler.wanted_adapters() == ()
    scheduler.adapter_failed("x", AdapterNotFound("none of digest x"))
    scheduler.add(request("d", adapter="x"))
    assert scheduler.wanted_adapters() == ("x",)
    scheduler.adapter_fetched(footprint("x"))
    assert scheduler.wanted_adapters() == ()
    scheduler.adapter_evicted("x")
    assert scheduler.wanted_adapters() == ("x",)


def test_nobody_wants_an_adapter_whose_requests_are_gone() -> None:
    scheduler = Drive().scheduler
    scheduler.add(request("a", adapter="x"))
    scheduler.cancel("a")
    assert scheduler.wanted_adapters() == ()


def test_a_request_is_admitted_once_its_slot_is_ready() -> None:
    drive = Drive()
    drive.add(request("a", adapter="x", max_tokens=2))
    assert drive.launch() is None
    drive.host(footprint("x", rank=12, layers=1))
    drive.step()
    assert drive.plans[0].load == (
        SlotLoad(0, "x", (ModulePages(0, "q", 12, (0, 1)), ModulePages(0, "v", 12, (0, 1)))),
    )
    assert drive.plans[0].rows == ()
    assert states(drive) == {"x": (SlotState.READY, 0)}
    drive.step()
    assert drive.plans[1].admit[0].slot == 0
    assert states(drive) == {"x": (SlotState.READY, 1)}
    drive.run()
    assert states(drive) == {"x": (SlotState.READY, 0)}
    assert sum(each.pages for each in drive.scheduler.residency()) == 4


def test_a_request_whose_adapter_is_away_blocks_nobody() -> None:
    drive = Drive(load_steps=3)
    drive.add(request("absent", adapter="x", band=Band.PRIORITY), request("loads", adapter="y"), request("base"))
    drive.host(footprint("y"))
    drive.step()
    assert drive.running() == {"base"}
    drive.run()
    assert admitted(drive) == ["base", "loads"]
    assert drive.scheduler.load().waiting == 1


def test_a_step_without_rows_waits_for_a_load_when_nothing_else_runs() -> None:
    drive = Drive(load_steps=99)
    drive.add(request("a", adapter="x"))
    drive.host(footprint("x"))
    drive.run()
    assert drive.end("a").finish is FinishReason.LENGTH


def test_only_one_step_at_a_time_waits_for_loads() -> None:
    drive = Drive(depth=2, load_steps=99)
    drive.add(request("a", adapter="x"))
    drive.host(footprint("x"))
    assert drive.launch() is not None
    assert drive.launch() is None


def test_a_failed_fetch_ends_only_what_waits_for_it() -> None:
    drive = Drive()
    drive.add(request("a", adapter="x"), request("b", adapter="x"), request("base"))
    error = AdapterNotFound("the store has no adapter x")
    drive.scheduler.adapter_failed("x", error)
    drive.run()
    assert drive.end("a").finish is drive.end("b").finish is FinishReason.ERROR
    assert drive.end("a").error is error
    assert drive.end("base").finish is FinishReason.LENGTH


def test_a_failed_fetch_of_an_adapter_that_a_slot_holds_ends_nothing() -> None:
    drive = Drive()
    drive.host(footprint("x"))
    drive.add(request("a", adapter="x"))
    drive.step()
    drive.scheduler.adapter_evicted("x")
    drive.scheduler.adapter_failed("x", AdapterNotFound("the store has no adapter x"))
    drive.run()
    assert drive.end("a").finish is FinishReason.LENGTH


def test_an_adapter_larger_than_the_pool_ends_what_waits_for_it() -> None:
    drive = Drive()
    drive.add(request("a", adapter="x"))
    drive.host(footprint("x", rank=33))
    drive.run()
    error = drive.end("a").error
    assert isinstance(error, AdapterUnusable)
    assert "rank 33 in layers.0.q and the adapter pool holds 32" in str(error)


def test_an_adapter_larger_than_the_pool_is_not_fetched_again_while_the_host_has_it() -> None:
    scheduler = Drive().scheduler
    scheduler.adapter_fetched(footprint("x", rank=33))
    with pytest.raises(AdapterUnusable, match="rank 33"):
        scheduler.add(request("a", adapter="x"))
    assert scheduler.wanted_adapters() == ()
    scheduler.adapter_evicted("x")
    scheduler.add(request("a", adapter="x"))
    assert scheduler.wanted_adapters() == ("x",)


def test_the_host_keeps_an_adapter_from_its_first_request_until_a_slot_has_it() -> None:
    drive = Drive(load_steps=1)
    assert not drive.scheduler.awaits_adapter("x")
    drive.add(request("base", max_tokens=9), request("a", adapter="x"))
    assert drive.scheduler.awaits_adapter("x")
    drive.host(footprint("x"))
    drive.step()
    assert drive.scheduler.awaits_adapter("x")
    drive.step()
    assert not drive.scheduler.awaits_adapter("x")


def test_an_engine_without_slots_refuses_adapters() -> None:
    with pytest.raises(InvalidRequest, match="0 adapter slots"):
        Drive(replace(SMALL, max_adapters=0)).add(request("a", adapter="x"))


def test_the_least_recently_used_idle_slot_gives_way() -> None:
    drive = Drive()
    drive.host(footprint("x"), footprint("y"), footprint("z"))
    for name, adapter in [("a", "x"), ("b", "y"), ("c", "x"), ("d", "z")]:
        drive.add(request(name, adapter=adapter, arrival=drive.now))
        drive.run()
    assert set(states(drive)) == {"x", "z"}
    load = drive.scheduler.load()
    assert (load.adapter_loads, load.adapter_evictions) == (3, 1)


def test_pages_may_run_out_before_slots_do() -> None:
    drive = Drive(replace(SMALL, max_adapters=4))
    drive.host(footprint("x", rank=16), footprint("y", rank=16), footprint("z", rank=24))
    drive.add(request("a", adapter="x"), request("b", adapter="y"))
    drive.run()
    assert set(states(drive)) == {"x", "y"}
    drive.add(request("c", adapter="z", arrival=drive.now))
    drive.run()
    assert set(states(drive)) == {"z"}


def test_nothing_is_evicted_when_it_would_not_be_enough() -> None:
    drive = Drive(replace(SMALL, max_adapters=4))
    drive.host(footprint("idle", rank=8), footprint("busy", rank=16), footprint("large", rank=32))
    drive.add(request("a", adapter="idle", max_tokens=1), request("b", adapter="busy", max_tokens=30))
    drive.step()
    drive.step()
    drive.add(request("c", adapter="large", arrival=drive.now))
    drive.step()
    assert set(states(drive)) == {"idle", "busy"}


def test_an_idle_slot_that_is_waited_for_is_not_evicted() -> None:
    drive = Drive(replace(ONE_SLOT, max_num_seqs=1))
    drive.host(footprint("x"), footprint("y"))
    drive.add(request("a", adapter="x", max_tokens=1))
    drive.run()
    drive.add(
        request("base", max_tokens=8), request("b", adapter="x", arrival=1.0), request("c", adapter="y", arrival=0.5)
    )
    drive.step()
    assert set(states(drive)) == {"x"}


@pytest.mark.parametrize("depth", [1, 2])
def test_a_patient_request_gets_a_slot_by_draining_one(depth: int) -> None:
    """Requests for x keep coming, so its slot would never be idle."""
    drive = Drive(ONE_SLOT, depth, patience=1.0)
    drive.host(footprint("x"), footprint("y"))
    waits = request("waits", adapter="y", arrival=0.05)
    for turn in range(60):
        drive.add(request(f"x{turn}", adapter="x", max_tokens=8, arrival=drive.now))
        if turn == 1:
            drive.add(waits)
        drive.step(0.05)
    drive.run()
    order = admitted(drive)
    assert order.index("waits") < order.index("x59")
    timing = drive.end("waits").timing
    assert timing is not None
    assert 1.0 <= timing.queued <= 2.0
    assert all(drive.end(f"x{turn}").finish for turn in range(60))
    assert drive.tokens("waits") == answer(waits)[0]


def test_a_deadline_makes_patience_shorter() -> None:
    drive = Drive(ONE_SLOT, patience=60.0)
    drive.host(footprint("x"), footprint("y"))
    drive.add(request("runs", adapter="x", max_tokens=50))
    drive.step()
    drive.step()
    drive.add(request("hurried", adapter="y", arrival=drive.now, deadline=drive.now + 1.0))
    drive.step(0.4)
    assert states(drive)["x"][0] is SlotState.READY
    drive.step(0.2)
    assert states(drive)["x"][0] is SlotState.DRAINING


def test_what_is_drained_for_a_large_adapter_is_not_taken_by_small_ones() -> None:
    drive = Drive(replace(SMALL, max_adapters=4, max_num_seqs=8), patience=1.0)
    drive.host(footprint("x", 16), footprint("y", 16), footprint("large", 32), footprint("small", 16))
    drive.add(request("a", adapter="x", max_tokens=20), request("b", adapter="y", max_tokens=40))
    drive.step()
    drive.step()
    drive.add(request("large", adapter="large", arrival=drive.now))
    drive.step(2.0)
    assert {state for state, _ in states(drive).values()} == {SlotState.DRAINING}
    drive.add(request("small", adapter="small", band=Band.PRIORITY, arrival=drive.now))
    drive.run()
    assert admitted(drive) == ["a", "b", "large", "small"]


def test_the_slot_with_the_fewest_tokens_left_is_drained() -> None:
    drive = Drive(patience=1.0)
    drive.host(footprint("x"), footprint("y"), footprint("z"))
    drive.add(request("a", adapter="x", max_tokens=40), request("b", adapter="y", max_tokens=20))
    drive.step()
    drive.step()
    drive.add(request("c", adapter="z", arrival=drive.now))
    drive.step(2.0)
    drive.step()
    assert states(drive) == {"x": (SlotState.READY, 1), "y": (SlotState.DRAINING, 1)}


def test_adapters_that_both_ran_out_of_patience_do_not_evict_each_other_unserved() -> None:
    drive = Drive(ONE_SLOT, patience=0.0, load_steps=1)
    drive.host(footprint("x"), footprint("y"))
    drive.add(request("a", adapter="x"), request("b", adapter="y"), request("c", adapter="x", arrival=0.01))
    drive.run(limit=100)
    assert sorted(admitted(drive)) == ["a", "b", "c"]
    assert drive.scheduler.load().adapter_loads <= 3
