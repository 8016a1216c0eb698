"""Prefetches, pins and drains beside requests, one rule a test."""

from dataclasses import replace

import pytest

from chorus_engine.core.load import SlotState
from tests.engine.scheduler.drive import SMALL, Drive, footprint, request

CAPACITY = replace(SMALL, max_lora_rank=16)  # 2 slots, 4 pages of 8 rows a pool


def prefetched(drive: Drive, digest: str, *, pin: bool = False) -> str | None:
    refusal = drive.scheduler.slots.prefetch(digest, drive.now, pin=pin)
    drive.run()
    return refusal


def served(drive: Drive, digest: str) -> None:
    drive.add(request(f"{digest}-{drive.now}", max_tokens=1, adapter=digest, arrival=drive.now))
    drive.run()


def in_slots(drive: Drive) -> set[str]:
    return {each.digest for each in drive.scheduler.residency()}


@pytest.fixture
def drive() -> Drive:
    drive = Drive(CAPACITY)
    drive.host(*(footprint(digest) for digest in "xyz"), footprint("large", 16))
    return drive


def test_a_free_slot_takes_whatever_is_prefetched(drive: Drive) -> None:
    assert prefetched(drive, "x") is None
    slot = drive.scheduler.slots.get("x")
    assert slot is not None
    assert (slot.state, slot.leases) == (SlotState.READY, 0)
    load = drive.scheduler.load()
    assert (load.free_slots, load.idle_slots) == (1, 1)


def test_the_host_keeps_what_is_about_to_be_copied(drive: Drive) -> None:
    assert not drive.scheduler.awaits_adapter("x")
    drive.scheduler.slots.prefetch("x", drive.now, pin=False)
    assert drive.scheduler.awaits_adapter("x")
    drive.run()
    assert not drive.scheduler.awaits_adapter("x")


def test_a_prefetch_takes_only_slots_worth_less(drive: Drive) -> None:
    served(drive, "x")
    served(drive, "x")
    served(drive, "y")
    refusal = prefetched(drive, "z")
    assert refusal == "0 slots are free and 0 more may give way, which is not room enough"
    served(drive, "z")  # takes y's slot, whose demand is less
    served(drive, "z")
    assert in_slots(drive) == {"x", "z"}
    served(drive, "y")
    served(drive, "y")
    served(drive, "y")
    assert in_slots(drive) == {"y", "z"}
    assert prefetched(drive, "x") == "0 slots are free and 0 more may give way, which is not room enough"
    served(drive, "x")
    assert "x" in in_slots(drive)


def test_a_prefetch_takes_a_slot_that_is_worth_less(drive: Drive) -> None:
    served(drive, "y")
    served(drive, "z")
    served(drive, "z")
    for number in range(3):  # asked for, and given up before there was a slot
        drive.add(request(f"x{number}", adapter="x", arrival=drive.now))
        drive.scheduler.cancel(f"x{number}")
    assert prefetched(drive, "x") is None
    assert in_slots(drive) == {"x", "z"}


def test_a_prefetch_loses_against_what_waits_for_a_slot(drive: Drive) -> None:
    drive.add(request("a", adapter="x", max_tokens=30), request("b", adapter="y", max_tokens=30))
    drive.step()
    drive.step()
    drive.add(request("c", adapter="z", arrival=drive.now))
    assert drive.scheduler.slots.prefetch("large", drive.now, pin=True) == "requests wait for slots"
    drive.run()
    assert drive.end("c").finish is not None


def test_a_prefetched_slot_goes_first_when_a_request_wants_room(drive: Drive) -> None:
    served(drive, "x")
    assert prefetched(drive, "y") is None
    served(drive, "z")
    assert in_slots(drive) == {"x", "z"}


def test_a_pin_outlives_every_demand(drive: Drive) -> None:
    assert prefetched(drive, "x", pin=True) is None
    assert drive.scheduler.slots.pin("x") is None
    for digest in "yzyzyz":
        served(drive, digest)
    assert "x" in in_slots(drive)
    load = drive.scheduler.load()
    assert (load.free_slots, load.idle_slots) == (0, 1)
    drive.scheduler.slots.unpin("x")
    for digest in "yz":
        served(drive, digest)
    assert in_slots(drive) == {"y", "z"}


def test_pins_are_refused_with_the_numbers() -> None:
    drive = Drive(replace(CAPACITY, max_adapters=8))
    drive.host(footprint("x", 8), footprint("y", 16))
    for digest in "xy":
        assert prefetched(drive, digest) is None
    assert drive.scheduler.slots.pin("x") is None
    assert drive.scheduler.slots.pin("x") is None
    assert drive.scheduler.slots.unpinnable("y") == "3 of 4 pages of q would be pinned, and at most 2 may be"
    assert drive.scheduler.slots.pin("y") == drive.scheduler.slots.unpinnable("y")


def test_where_the_largest_adapter_needs_the_pool_nothing_is_pinned() -> None:
    drive = Drive(replace(CAPACITY, max_lora_rank=32))
    drive.host(footprint("x"))
    assert prefetched(drive, "x") is None
    assert drive.scheduler.slots.pin("x") == "1 of 4 pages of q would be pinned, and at most 0 may be"


def test_no_pin_starves_a_request_that_waits() -> None:
    """Whatever is pinned and runs, an adapter as large as allowed gets its slot after the patience."""
    drive = Drive(replace(CAPACITY, max_num_seqs=8), patience=1.0)
    drive.host(footprint("pinned", 16), footprint("runs", 16), footprint("waits", 16))
    assert prefetched(drive, "pinned") is None
    assert drive.scheduler.slots.pin("pinned") is None
    for turn in range(60):
        drive.add(request(f"p{turn}", adapter="pinned", max_tokens=8, arrival=drive.now))
        drive.add(request(f"r{turn}", adapter="runs", max_tokens=8, arrival=drive.now))
        if turn == 2:
            drive.add(request("waits", adapter="waits", arrival=drive.now))
        drive.step(0.05)
    drive.run()
    timing = drive.end("waits").timing
    assert timing is not None
    assert 0.9 <= timing.queued <= 2.5
    assert "pinned" in in_slots(drive)
    assert all(drive.end(f"{kind}{turn}").finish for kind in "pr" for turn in range(60))


def test_a_drained_slot_serves_what_runs_and_is_loaded_anew_for_who_comes(drive: Drive) -> None:
    drive.add(request("runs", adapter="x", max_tokens=20))
    drive.step()
    drive.step()
    serial = drive.scheduler.slots.serial("x")
    assert drive.scheduler.slots.drain("x") is None
    drive.add(request("waits", adapter="x", arrival=drive.now))
    drive.step()
    assert drive.running() == {"runs"}
    drive.run()
    assert drive.end("waits").finish is not None
    assert drive.scheduler.slots.serial("x") not in (serial, None)


def test_requests_count_as_hits_by_where_their_adapter_was(drive: Drive) -> None:
    served(drive, "x")
    served(drive, "x")
    drive.add(request("a", adapter="unknown"), request("base"))
    load = drive.scheduler.load()
    assert (load.gpu_hits, load.host_hits, load.misses) == (1, 1, 1)


def test_the_oldest_lease_is_that_of_the_longest_running_row_with_an_adapter(drive: Drive) -> None:
    assert drive.scheduler.load().oldest_lease is None
    drive.add(request("base", max_tokens=40), request("a", adapter="x", max_tokens=10))
    drive.step()
    drive.step()
    began = drive.now
    assert drive.scheduler.load().oldest_lease == began
    drive.add(request("b", adapter="x", max_tokens=30, arrival=drive.now))
    drive.step(1.0)
    assert drive.scheduler.load().oldest_lease == began
    drive.run()
    assert drive.scheduler.load().oldest_lease is None


def test_whose_turn_it_is_decides_the_order_of_fetches(drive: Drive) -> None:
    drive.add(request("late", adapter="v", counter=5.0), request("early", adapter="w", counter=1.0))
    late, early = (drive.scheduler.priority(digest) for digest in "vw")
    assert late is not None
    assert early is not None
    assert early < late
    assert drive.scheduler.priority("nobody's") is None
