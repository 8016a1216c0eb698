"""What preempted requests had computed waits in host memory, one rule a test."""

from dataclasses import replace

import pytest

from chorus_engine.core.request import Band, FinishReason
from chorus_engine.core.spec import Capacity
from tests.engine.scheduler.drive import SMALL, Drive, request
from tests.engine.scheduler.fake_runner import answer

CHEAP = replace(
    SMALL, num_blocks=8, max_num_batched_tokens=64, swap_blocks=8, swap_seconds=0.001, recompute_seconds=1.0
)


def until_preempted(capacity: Capacity = CHEAP, depth: int = 1) -> Drive:
    """Two requests that fit together at first; `flex` has to give way."""
    drive = Drive(capacity, depth)
    drive.add(request("urgent", 8, 20, band=Band.PRIORITY), request("flex", 8, 20, band=Band.FLEX))
    while not drive.scheduler.load().preemptions:
        drive.step()
    return drive


@pytest.mark.parametrize("depth", [1, 2])
def test_a_swapped_request_goes_on_without_computing_anything_again(depth: int) -> None:
    drive = until_preempted(depth=depth)
    drive.run()
    assert drive.scheduler.load().swaps == drive.scheduler.load().preemptions > 0
    for name in ("urgent", "flex"):
        asked = drive.requests[name]
        assert (drive.tokens(name), drive.end(name).finish) == answer(asked)
        usage = drive.end(name).usage
        assert usage is not None
        assert usage.computed_tokens <= 8 + 20 - 1 + (depth - 1)
    (out,) = [plan.swap_out for plan in drive.plans if plan.swap_out]
    (back,) = [plan.swap_in for plan in drive.plans if plan.swap_in]
    assert [host for _, host in out] == [host for host, _ in back]


def test_a_swapped_request_is_admitted_with_its_blocks_and_starts_past_them() -> None:
    drive = until_preempted()
    drive.run()
    (plan,) = [plan for plan in drive.plans if plan.swap_in]
    (admission,) = plan.admit
    (step,) = plan.rows
    assert admission.blocks == tuple(block for _, block in plan.swap_in)
    assert (step.start, step.count) == (len(admission.token_ids) - 1, 1)
    assert len(admission.blocks) == -(-step.start // SMALL.block_size)


@pytest.mark.parametrize(
    "capacity",
    [
        replace(CHEAP, swap_seconds=9.0),
        replace(CHEAP, swap_seconds=0.0),
        replace(CHEAP, recompute_seconds=0.0),
        replace(CHEAP, swap_blocks=2),
        replace(CHEAP, swap_blocks=0),
    ],
    ids=["dear", "of unknown cost", "beside unknown cost", "without room", "off"],
)
def test_where_swapping_is_no_gain_tokens_are_computed_again(capacity: Capacity) -> None:
    drive = until_preempted(capacity)
    drive.run()
    assert drive.scheduler.load().swaps == 0
    assert all(plan.swap_out == plan.swap_in == () for plan in drive.plans)
    assert drive.tokens("flex") == answer(drive.requests["flex"])[0]


def test_tokens_that_others_hold_need_no_computing_and_make_swapping_no_gain() -> None:
    # Alone, 28 tokens in 7 blocks would be swapped: 14 s against 22 s. But 12 of them are in shared blocks.
    capacity = replace(CHEAP, swap_seconds=1.0, recompute_seconds=0.8, num_blocks=12)
    tokens = tuple(range(16))
    drive = Drive(capacity)
    for name, band in (("urgent", Band.PRIORITY), ("flex", Band.FLEX)):
        drive.add(request(name, max_tokens=24, band=band, tokens=tokens, namespace=b"tenant"))
    drive.run()
    load = drive.scheduler.load()
    assert load.preemptions > 0
    assert load.swaps == 0
    assert drive.tokens("flex") == answer(drive.requests["flex"])[0]


def test_a_cancel_gives_host_blocks_back_and_spares_the_copy() -> None:
    drive = until_preempted()
    while not drive.plans[-1].swap_out:
        drive.step()
    drive.scheduler.cancel("flex")
    drive.scheduler.check()
    drive.run()
    assert drive.end("flex").finish is FinishReason.CANCELLED
    assert all(plan.swap_in == () for plan in drive.plans)
    drive.add(request("next", 8, 20, band=Band.FLEX), request("last", 8, 20, band=Band.PRIORITY))
    drive.run()
    assert drive.scheduler.load().swaps == 2


def test_a_prompt_that_is_preempted_half_way_goes_on_where_it_was() -> None:
    capacity = replace(CHEAP, num_blocks=10, max_num_batched_tokens=8)
    drive = Drive(capacity)
    drive.add(request("runs", 4, 24))
    drive.step()
    drive.add(request("long", 26, 4, band=Band.FLEX, arrival=1.0))
    while not drive.scheduler.load().preemptions:
        drive.step()
    drive.run()
    usage = drive.end("long").usage
    assert usage is not None
    assert drive.scheduler.load().swaps == 1
    assert usage.computed_tokens == 26 + 4 - 1
    assert drive.tokens("long") == answer(drive.requests["long"])[0]
