"""How the scheduler decides, one rule a test."""

import pickle
from dataclasses import replace

import pytest

from chorus_engine.core.errors import InvalidRequest, StartError
from chorus_engine.core.plan import BASE_SLOT, Admission, RowStep, StepPlan
from chorus_engine.core.request import Band, FinishReason
from chorus_engine.scheduler import Scheduler
from tests.engine.scheduler.drive import SMALL, Drive, footprint, request
from tests.engine.scheduler.fake_runner import answer


def test_a_request_is_admitted_prefilled_decoded_and_released() -> None:
    drive = Drive()
    asked = request("a", prompt=3, max_tokens=3)
    drive.add(asked)
    drive.run()
    assert drive.plans == [
        StepPlan(
            step=1,
            rows=(RowStep(row=0, start=0, count=3, new_blocks=(0,), sample=True),),
            admit=(Admission(0, "a", asked.prompt, 3, BASE_SLOT, asked.sampling),),
        ),
        StepPlan(step=2, rows=(RowStep(row=0, start=3, count=1, new_blocks=(), sample=True),)),
        StepPlan(step=3, rows=(RowStep(row=0, start=4, count=1, new_blocks=(1,), sample=True),)),
    ]
    assert (drive.tokens("a"), drive.end("a").finish) == answer(asked)
    assert drive.scheduler.idle


def test_a_released_row_is_told_with_the_next_plan_and_may_be_taken_in_it() -> None:
    drive = Drive()
    drive.add(request("a", max_tokens=1))
    drive.run()
    drive.add(request("b", max_tokens=1))
    drive.run()
    assert drive.plans[1].release == (0,)
    assert drive.plans[1].admit[0].row == 0


def test_plans_can_be_sent_to_another_process() -> None:
    drive = Drive(replace(SMALL, num_blocks=8, swap_blocks=8, swap_seconds=0.001, recompute_seconds=1.0))
    drive.host(footprint("x"))
    drive.add(request("a", 8, 20, adapter="x"), request("b", 8, 20, arrival=1.0))
    drive.run()
    assert any(plan.swap_in for plan in drive.plans)
    assert [pickle.loads(pickle.dumps(plan)) for plan in drive.plans] == drive.plans


def test_nothing_to_do_is_none() -> None:
    assert Scheduler(SMALL).schedule(0.0) is None


def test_a_long_prompt_is_cut_into_chunks_and_only_the_last_draws_a_token() -> None:
    drive = Drive(replace(SMALL, max_num_batched_tokens=4, max_num_seqs=4))
    drive.add(request("a", prompt=10, max_tokens=1))
    drive.run()
    assert [(r.start, r.count, r.sample) for p in drive.plans for r in p.rows] == [
        (0, 4, False),
        (4, 4, False),
        (8, 2, True),
    ]


def test_decodes_go_before_prompts_under_the_budget() -> None:
    drive = Drive(replace(SMALL, max_num_batched_tokens=4, max_num_seqs=4))
    drive.add(request("a", prompt=3, max_tokens=9))
    drive.step()
    drive.add(request("b", prompt=6, max_tokens=9, band=Band.PRIORITY))
    drive.step()
    assert [(r.row, r.count) for r in drive.plans[1].rows] == [(0, 1), (1, 3)]
    drive.step()
    assert [(r.row, r.count) for r in drive.plans[2].rows] == [(0, 1), (1, 3)]


def test_admission_is_by_band_then_counter_then_arrival() -> None:
    drive = Drive(replace(SMALL, max_num_seqs=1))
    drive.add(
        request("flex", band=Band.FLEX, max_tokens=1),
        request("late", arrival=2.0, max_tokens=1),
        request("early", arrival=1.0, max_tokens=1),
        request("modest", counter=-1.0, arrival=3.0, max_tokens=1),
        request("urgent", band=Band.PRIORITY, counter=9.0, arrival=9.0, max_tokens=1),
    )
    drive.run()
    admitted = [admission.request_id for plan in drive.plans for admission in plan.admit]
    assert admitted == ["urgent", "modest", "early", "late", "flex"]


def test_prompts_that_run_and_requests_that_wait_go_in_one_order() -> None:
    drive = Drive(replace(SMALL, max_num_batched_tokens=4))
    drive.add(request("long", prompt=30, max_tokens=1, band=Band.FLEX))
    drive.step()
    drive.add(request("urgent", prompt=8, max_tokens=1, arrival=1.0), request("late", band=Band.FLEX, arrival=2.0))
    drive.run()
    assert [a.request_id for p in drive.plans for a in p.admit] == ["long", "urgent", "late"]
    assert [r.row for p in drive.plans[:5] for r in p.rows] == [0, 1, 1, 0, 0]


def test_a_head_without_blocks_holds_the_queue_behind_it() -> None:
    drive = Drive(replace(SMALL, num_blocks=8))
    drive.add(request("runs", prompt=12, max_tokens=4))
    drive.step()
    drive.add(request("large", prompt=16, arrival=1.0), request("small", prompt=2, arrival=2.0))
    drive.step()
    load = drive.scheduler.load()
    assert (load.running, load.waiting, load.waits_for_blocks) == (1, 2, True)
    drive.run()
    assert [a.request_id for p in drive.plans for a in p.admit] == ["runs", "large", "small"]
    assert not drive.scheduler.load().waits_for_blocks


def test_out_of_blocks_the_youngest_of_the_lowest_band_computes_again() -> None:
    capacity = replace(SMALL, num_blocks=12, max_num_batched_tokens=64)
    drive = Drive(capacity)
    requests = [
        request("flex", 8, 20, band=Band.FLEX, arrival=0.0),
        request("old", 8, 20, arrival=1.0),
        request("young", 8, 20, arrival=2.0),
    ]
    drive.add(*requests)
    while not drive.scheduler.load().preemptions:
        drive.step()
    assert drive.running() == {"old", "young"}
    drive.run()
    again = [a.request_id for p in drive.plans for a in p.admit if len(a.token_ids) > a.prompt_len]
    assert "flex" in again
    assert "old" not in again
    assert drive.scheduler.load().preemptions == len(again)
    for each in requests:
        assert (drive.tokens(each.id), drive.end(each.id).finish) == answer(each)
    usage = drive.end("flex").usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (8, 20)
    assert usage.computed_tokens > 27


def test_preemption_spares_what_is_near_its_end() -> None:
    drive = Drive(replace(SMALL, num_blocks=6, max_num_batched_tokens=64))
    ending = request("ending", 8, 5, band=Band.FLEX, arrival=5.0)
    drive.add(request("long", 8, 16), ending)
    drive.run()
    again = [a.request_id for p in drive.plans for a in p.admit if len(a.token_ids) > a.prompt_len]
    assert set(again) <= {"long"}
    assert drive.tokens("ending") == answer(ending)[0]


def test_a_row_that_leaves_anyway_spares_the_others() -> None:
    drive = Drive(replace(SMALL, num_blocks=4, max_num_batched_tokens=64), depth=2)
    drive.add(request("a", 4, 12))
    drive.launch()
    drive.add(request("b", 4, 12, arrival=1.0))
    while drive.scheduler.load().free_blocks:
        drive.step()
    drive.scheduler.cancel("b")
    drive.run()
    assert drive.scheduler.load().preemptions == 0
    assert drive.end("a").finish is FinishReason.LENGTH


def test_a_stop_token_ends_a_request_and_is_part_of_it() -> None:
    drive = Drive()
    tokens, _ = answer(request("a", max_tokens=12))
    stop = tokens[4]
    asked = request("a", max_tokens=12, stop=(stop,))
    drive.add(asked)
    drive.run()
    assert drive.tokens("a") == tokens[: tokens.index(stop) + 1]
    assert drive.end("a").finish is FinishReason.STOP


def test_a_stop_token_before_min_tokens_does_not_count() -> None:
    drive = Drive()
    tokens, _ = answer(request("a", max_tokens=12))
    drive.add(request("a", max_tokens=12, stop=(tokens[0],), min_tokens=1))
    drive.run()
    assert len(drive.tokens("a")) > 1


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_cancel_gives_everything_back_once_the_steps_in_flight_are_committed(depth: int) -> None:
    drive = Drive(depth=depth)
    drive.add(request("a", max_tokens=30), request("b", max_tokens=30))
    for _ in range(depth + 2):
        drive.step()
    drive.scheduler.cancel("a")
    drive.scheduler.cancel("b")
    drive.scheduler.cancel("unknown")
    ends = drive.scheduler.take_outputs()
    assert [(end.request_id, end.finish) for end in ends] == [
        ("a", FinishReason.CANCELLED),
        ("b", FinishReason.CANCELLED),
    ]
    assert drive.scheduler.schedule(drive.now) is None
    for _ in range(drive.in_flight):
        drive.commit()
    assert not [output for output in drive.outputs if output.finish]
    assert drive.scheduler.load().free_blocks == SMALL.num_blocks
    assert drive.scheduler.idle


def test_a_waiting_request_is_cancelled_at_once() -> None:
    scheduler = Scheduler(SMALL)
    scheduler.add(request("a"))
    scheduler.cancel("a")
    (end,) = scheduler.take_outputs()
    assert end.finish is FinishReason.CANCELLED
    assert end.usage is not None
    assert end.usage.completion_tokens == 0
    assert scheduler.idle
    assert scheduler.take_outputs() == ()


def test_a_deadline_ends_waiting_and_running_requests_alike() -> None:
    drive = Drive(replace(SMALL, max_num_seqs=1))
    drive.add(
        request("runs", max_tokens=40, deadline=1.0),
        request("waits", arrival=0.1, deadline=2.0),
        request("free", arrival=0.2),
    )
    assert drive.scheduler.next_deadline() == 1.0
    drive.step(0.5)
    drive.step(0.5)
    assert drive.end("runs").finish is FinishReason.DEADLINE
    assert len(drive.tokens("runs")) == 1
    assert drive.scheduler.next_deadline() == 2.0
    drive.step(1.0)
    drive.run()
    assert drive.end("waits").finish is FinishReason.DEADLINE
    assert drive.end("free").finish is FinishReason.LENGTH
    assert drive.scheduler.next_deadline() is None


def test_timing_says_where_the_time_went() -> None:
    drive = Drive()
    drive.add(request("a", prompt=20, max_tokens=3))
    drive.run()
    timing = drive.end("a").timing
    assert timing is not None
    assert (timing.queued, timing.prefill, timing.decode) == pytest.approx((0.01, 0.01, 0.02))


def test_what_can_never_fit_is_refused_with_value_and_limit() -> None:
    scheduler = Scheduler(replace(SMALL, num_blocks=8, max_adapters=0))
    with pytest.raises(InvalidRequest, match=r"60 tokens and max_tokens 5 make 65, over the context length of 64"):
        scheduler.add(request("a", prompt=60, max_tokens=5))
    with pytest.raises(InvalidRequest, match="need 9 KV blocks and the engine has 8"):
        scheduler.add(request("a", prompt=30, max_tokens=4))
    with pytest.raises(InvalidRequest, match="0 adapter slots"):
        scheduler.add(request("a", adapter="x"))
    with pytest.raises(InvalidRequest, match="at least 1"):
        scheduler.add(request("a", prompt=0))
    scheduler.add(request("a", prompt=30, max_tokens=3))
    with pytest.raises(InvalidRequest, match="request id a is in use"):
        scheduler.add(request("a"))


def test_the_largest_request_that_fits_runs_alone_to_its_end() -> None:
    drive = Drive(replace(SMALL, num_blocks=8))
    asked = request("a", prompt=1, max_tokens=32)
    drive.add(asked)
    drive.run()
    assert drive.tokens("a") == answer(asked)[0]


def test_a_budget_below_one_token_a_row_does_not_start() -> None:
    with pytest.raises(StartError, match="max_num_batched_tokens is 3, less than max_num_seqs 4"):
        Scheduler(replace(SMALL, max_num_batched_tokens=3))
