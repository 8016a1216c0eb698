"""Equal beginnings are computed once, one rule a test."""

from dataclasses import replace
from typing import Any

import pytest

from chorus_engine.core.plan import StepPlan
from chorus_engine.core.request import FinishReason, Request
from tests.engine.scheduler.drive import SMALL, Drive, footprint, request
from tests.engine.scheduler.fake_runner import answer

WIDE = replace(SMALL, max_num_batched_tokens=64, max_model_len=4096)
TEXT = tuple(range(40))


def asked(name: str, tokens: int = 18, max_tokens: int = 2, **others: Any) -> Request:
    """A prompt that begins like all others here."""
    text = TEXT * (tokens // len(TEXT) + 1)
    return replace(request(name, max_tokens=max_tokens, tokens=text[:tokens], namespace=b"tenant"), **others)


def cached(drive: Drive, name: str) -> int:
    usage = drive.end(name).usage
    assert usage is not None
    assert drive.tokens(name) == answer(drive.requests[name])[0]
    return usage.cached_tokens


def admitted_in(plan: StepPlan | None, name: str) -> tuple[int, ...]:
    """The blocks that the request was given filled."""
    assert plan is not None
    (blocks,) = [admission.blocks for admission in plan.admit if admission.request_id == name]
    return blocks


def test_a_second_reader_computes_what_follows_the_last_full_block() -> None:
    drive = Drive(WIDE)
    drive.add(asked("a"))
    drive.run()
    drive.add(asked("b"))
    drive.run()
    assert (cached(drive, "a"), cached(drive, "b")) == (0, 16)
    usage = drive.end("b").usage
    assert usage is not None
    assert usage.computed_tokens == 3, "two of the prompt and one of the answer"


def test_the_first_token_comes_with_what_was_found() -> None:
    drive = Drive(WIDE)
    drive.add(asked("a"))
    drive.run()
    drive.add(asked("b", max_tokens=4))
    drive.run()
    usages = [output.usage and output.usage.cached_tokens for output in drive.outputs if output.request_id == "b"]
    assert usages == [16, None, None, 16]


def test_a_long_shared_prompt_costs_its_second_reader_a_few_tokens() -> None:
    drive = Drive(replace(SMALL, max_num_batched_tokens=512, max_model_len=2048, block_size=16, num_blocks=300))
    drive.add(asked("a", 2000), asked("b", 2000, arrival=1.0))
    drive.run()
    assert cached(drive, "b") == 1984
    assert [[step.count for step in plan.rows] for plan in drive.plans] == [[512], [512], [512], [464, 16], [1, 1]]


def test_the_copies_of_one_prompt_share_all_blocks_but_the_last_in_the_very_step_that_fills_them() -> None:
    drive = Drive(WIDE)
    drive.add(*(asked(name, arrival=float(order)) for order, name in enumerate("abc")))
    drive.run()
    first = drive.plans[0]
    assert [step.count for step in first.rows] == [18, 2, 2]
    assert admitted_in(first, "b") == admitted_in(first, "c") == first.rows[0].new_blocks[:4]
    assert [cached(drive, name) for name in "abc"] == [0, 16, 16]


def test_a_full_block_that_is_filled_in_this_step_is_not_copied_but_computed() -> None:
    drive = Drive(WIDE)
    drive.add(asked("a", 16), asked("b", 16, arrival=1.0))
    drive.run()
    assert drive.plans[0].copy == ()
    assert [step.count for step in drive.plans[0].rows] == [16, 4]
    assert cached(drive, "b") == 12


def test_a_prompt_found_whole_copies_the_last_block_while_another_holds_it() -> None:
    drive = Drive(WIDE)
    drive.add(asked("a", 16, max_tokens=9))
    drive.step()
    drive.add(asked("b", 16))
    drive.step()
    plan = drive.plans[-1]
    shared, (target,) = admitted_in(plan, "b")[:3], admitted_in(plan, "b")[3:]
    assert shared == drive.plans[0].rows[0].new_blocks[:3]
    assert plan.copy == ((drive.plans[0].rows[0].new_blocks[3], target),)
    drive.run()
    assert cached(drive, "b") == 15


def test_a_prompt_found_whole_takes_blocks_that_nobody_holds_as_they_are() -> None:
    drive = Drive(replace(WIDE, num_blocks=5))
    drive.add(asked("a", 16))
    drive.run()
    drive.add(asked("b", 16))
    drive.run()
    assert all(plan.copy == () for plan in drive.plans)
    assert cached(drive, "b") == 15


def test_answers_are_found_by_the_next_turn_of_a_conversation() -> None:
    drive = Drive(WIDE, depth=2)
    first = asked("a", 10, max_tokens=11)
    drive.add(first)
    drive.run()
    drive.add(replace(asked("b", max_tokens=1), prompt=(*first.prompt, *answer(first)[0], 5, 6, 7)))
    drive.run()
    assert cached(drive, "b") == 20


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_what_a_cancelled_request_had_scheduled_is_computed_and_found(depth: int) -> None:
    drive = Drive(WIDE, depth=depth)
    drive.add(asked("a", max_tokens=20))
    drive.launch()
    drive.scheduler.cancel("a")
    drive.add(asked("b"))
    drive.run()
    assert drive.end("a").finish is FinishReason.CANCELLED
    assert cached(drive, "b") == 16


def test_no_namespace_shares_with_nobody() -> None:
    drive = Drive(WIDE)
    drive.add(asked("a", namespace=b""))
    drive.run()
    drive.add(asked("b", namespace=b""))
    drive.run()
    assert cached(drive, "b") == 0


@pytest.mark.parametrize(
    ("namespace", "adapter"),
    [(b"other", None), (b"tenan", None), (b"tenant1", None), (b"tenant", "x"), (b"other", "x"), (b"", None)],
)
def test_nothing_is_found_under_another_namespace_or_adapter(namespace: bytes, adapter: str | None) -> None:
    drive = Drive(WIDE)
    drive.host(footprint("x"))
    drive.add(asked("a"))
    drive.run()
    drive.add(asked("b", namespace=namespace, adapter=adapter))
    drive.run()
    assert cached(drive, "b") == 0


def test_one_adapter_under_one_namespace_shares() -> None:
    drive = Drive(WIDE)
    drive.host(footprint("x"))
    drive.add(asked("a", adapter="x"), asked("b", adapter="x", arrival=1.0))
    drive.run()
    assert cached(drive, "b") == 16


def test_prefix_caching_may_be_off() -> None:
    drive = Drive(WIDE, prefix_caching=False)
    drive.add(asked("a"), asked("b", arrival=1.0))
    drive.run()
    assert cached(drive, "b") == 0


def test_what_was_used_last_is_kept_longest_and_the_beginning_longer_than_the_end() -> None:
    drive = Drive(replace(WIDE, num_blocks=12))
    for name in ("old", "new"):
        drive.add(asked(name, max_tokens=1, prompt=tuple(map(ord, name * 6))[:16]))
        drive.run()
    drive.add(asked("large", 20, max_tokens=1, namespace=b""))
    drive.run()
    assert drive.scheduler.load().free_blocks == 12
    drive.add(replace(drive.requests["new"], id="new again"), replace(drive.requests["old"], id="old again"))
    drive.run()
    assert (cached(drive, "new again"), cached(drive, "old again")) == (15, 12)
