"""Streams and their requests, without a wire."""

import asyncio
from dataclasses import replace

import pytest

from chorus_engine.core.errors import AdapterNotFound
from chorus_engine.core.load import Held, Load, SlotState, Tier
from chorus_engine.core.request import Band, FinishReason, Output, SampledToken, Usage
from chorus_engine.rpc.sessions import Stream
from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.contracts.engine.support.gateway import sampling, submit
from tests.engine.rpc.fakes import BUSY, IDLE, Bench


async def frame_of(stream: Stream) -> pb.EngineFrame:
    frame = await asyncio.wait_for(stream.outbox.take(), 60)
    assert frame is not None
    return frame


def opened(bench: Bench, waiting: int = 3) -> Stream:
    stream = bench.sessions.open("worker")
    bench.sessions.apply(stream, pb.GatewayFrame(head=pb.Head(waiting=waiting, band=pb.BAND_DEFAULT)))
    return stream


def tokens(request_id: str, *token_ids: int, finish: FinishReason | None = None) -> Output:
    usage = Usage(3, len(token_ids)) if finish else None
    return Output(request_id, tuple(SampledToken(token_id) for token_id in token_ids), finish, usage=usage)


async def test_a_submit_becomes_a_request() -> None:
    bench = Bench()
    stream = opened(bench)
    fields = {"adapter_digest": "ab" * 32, "timeout_ms": 2500, "tenant_tag": "t", "counter": 4.5, "traceparent": "00-a"}
    wanted = sampling(8, ignore_eos=False, stop_token_ids=[9], logit_bias={4: -1.0, 3: 2.0}, seed=11, logprobs=0)
    asked = submit("a", (5, 6), attempt=2, band=pb.BAND_FLEX, sampling=wanted, **fields)
    bench.sessions.apply(stream, pb.GatewayFrame(submits=[asked]))
    (request,) = bench.engine.submitted
    assert (request.prompt, request.adapter, request.namespace) == ((5, 6), "ab" * 32, b"n" * 32)
    assert (request.band, request.counter, request.tenant) == (Band.FLEX, 4.5, "t")
    assert (request.arrival, request.deadline, request.traceparent) == (100.0, 102.5, "00-a")
    assert request.sampling.stop_token_ids == (2, 9)
    assert request.sampling.logit_bias == ((3, 2.0), (4, -1.0))
    assert (request.sampling.seed, request.sampling.logprobs) == (11, 0)
    assert bench.sessions.traceparent_of("ab" * 32) == "00-a"


async def test_seeds_are_drawn_where_none_is_given() -> None:
    bench = Bench()
    stream = opened(bench)
    bench.sessions.apply(stream, pb.GatewayFrame(submits=[submit("a"), submit("b")]))
    first, second = (request.sampling.seed for request in bench.engine.submitted)
    assert first != second


async def test_outputs_go_to_the_stream_that_asked() -> None:
    bench = Bench()
    one, two = opened(bench), opened(bench)
    bench.sessions.apply(one, pb.GatewayFrame(submits=[submit("a")]))
    bench.sessions.apply(two, pb.GatewayFrame(submits=[submit("b", attempt=1)]))
    a, b = (request.id for request in bench.engine.submitted)
    bench.sessions.deliver((tokens(a, 7), tokens(b, 8, finish=FinishReason.LENGTH)), BUSY)
    (of_one,), (of_two,) = (await frame_of(one)).deltas, (await frame_of(two)).deltas
    assert (of_one.request_id, list(of_one.token_ids), of_one.finish_reason) == ("a", [7], 0)
    assert (of_two.request_id, of_two.attempt, of_two.usage.completion_tokens) == ("b", 1, 1)
    assert [request.id for request, _ in bench.ended] == [b]
    assert bench.sessions.live == 1


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (AdapterNotFound("there is none."), pb.ERROR_CODE_ADAPTER_NOT_FOUND, "there is none."),
        (RuntimeError("/secret/path"), pb.ERROR_CODE_INTERNAL, "the engine failed; send the request again."),
    ],
)
async def test_errors_have_codes_and_only_the_engines_own_have_words(error: Exception, code: int, words: str) -> None:
    bench = Bench()
    stream = opened(bench)
    bench.sessions.apply(stream, pb.GatewayFrame(submits=[submit("a")]))
    request_id = bench.engine.submitted[0].id
    bench.sessions.deliver((Output(request_id, finish=FinishReason.ERROR, error=error),), IDLE)
    (delta,) = (await frame_of(stream)).deltas
    assert (delta.error.code, delta.error.message) == (code, words)


async def test_a_closed_streams_requests_are_cancelled_and_counted_until_they_end() -> None:
    bench = Bench()
    stream = opened(bench)
    bench.sessions.apply(stream, pb.GatewayFrame(submits=[submit("a"), submit("b")]))
    bench.sessions.close(stream)
    bench.sessions.close(stream)
    ids = {request.id for request in bench.engine.submitted}
    assert set(bench.engine.cancelled) == ids
    assert bench.sessions.live == 2, "their rows are not free yet"
    bench.sessions.deliver(tuple(tokens(i, finish=FinishReason.CANCELLED) for i in ids), IDLE)
    assert bench.sessions.live == 0
    assert bench.sessions.empty.is_set()
    assert len(bench.ended) == 2


async def test_only_the_stream_that_submitted_can_cancel() -> None:
    bench = Bench()
    one, two = opened(bench), opened(bench)
    bench.sessions.apply(one, pb.GatewayFrame(submits=[submit("a")]))
    cancel = pb.GatewayFrame(cancels=[pb.Cancel(request_id="a")])
    bench.sessions.apply(two, cancel)
    assert bench.engine.cancelled == []
    bench.sessions.apply(one, cancel)
    assert bench.engine.cancelled == [bench.engine.submitted[0].id]


async def test_an_outbox_that_overflows_cancels_its_streams_requests_alone() -> None:
    bench = Bench(outbox_bytes=500)
    slow, good = opened(bench), opened(bench)
    bench.sessions.apply(slow, pb.GatewayFrame(submits=[submit("a")]))
    bench.sessions.apply(good, pb.GatewayFrame(submits=[submit("b")]))
    a, b = (request.id for request in bench.engine.submitted)
    for token_id in range(49):
        bench.sessions.deliver((tokens(a, token_id), tokens(b, token_id)), BUSY)
        await frame_of(good)
    assert bench.engine.cancelled == [a]
    bench.sessions.apply(slow, pb.GatewayFrame(submits=[submit("c")], returned_credits=1))
    assert len(bench.engine.submitted) == 2


async def test_no_credit_is_granted_while_a_request_waits_for_blocks() -> None:
    bench = Bench()
    stream = opened(bench, waiting=1)
    assert (await frame_of(stream)).credits == 1
    full = Load(2, 1, True, 0, 10, 0, 0, 0)
    bench.sessions.deliver((), full)
    bench.sessions.apply(stream, pb.GatewayFrame(head=pb.Head(waiting=4, band=pb.BAND_DEFAULT)))
    bench.sessions.deliver((), IDLE)
    frames = [await frame_of(stream)]
    assert sum(frame.credits for frame in frames) == 3
    assert frames[0].load.free_blocks == 10


async def test_credits_that_stand_come_with_the_first_frame_and_go_on_with_later_ones() -> None:
    bench = Bench(credits=8, standing=2)
    stream = bench.sessions.open("worker")
    first = await frame_of(stream)
    assert (first.credits, first.standing_credits) == (2, 2)
    bench.sessions.apply(stream, pb.GatewayFrame(submits=[submit("a")]))
    bench.sessions.deliver((tokens("0:a", 7),), BUSY)
    second = await frame_of(stream)
    assert (second.credits, second.HasField("standing_credits"), len(second.deltas)) == (1, False, 1)


async def test_credits_that_were_to_stand_are_not_held_back_from_what_waits() -> None:
    bench = Bench(credits=8, standing=2)
    stream = bench.sessions.open("worker")
    await frame_of(stream)
    bench.sessions.apply(stream, pb.GatewayFrame(submits=[submit("a"), submit("b")]))
    bench.sessions.apply(stream, pb.GatewayFrame(head=pb.Head(waiting=1, band=pb.BAND_DEFAULT)))
    assert (await frame_of(stream)).credits == 2


@pytest.mark.parametrize("how", ["waits_for_blocks", "stalls", "drains"])
async def test_credits_are_asked_back_where_requests_would_wait(how: str) -> None:
    bench = Bench(credits=8, standing=2)
    stream = bench.sessions.open("worker")
    await frame_of(stream)
    if how == "waits_for_blocks":
        bench.sessions.deliver((), replace(BUSY, waits_for_blocks=True))
    elif how == "stalls":
        bench.sessions.set_stalled(True)
    else:
        bench.sessions.drain()
    told = await frame_of(stream)
    assert told.HasField("standing_credits")
    assert (told.credits, told.standing_credits) == (0, 0)


async def test_a_stream_without_deltas_hears_of_the_load_now_and_then() -> None:
    bench = Bench()
    stream = bench.sessions.open("worker")
    bench.sessions.deliver((), BUSY)
    assert (await frame_of(stream)).load.running == 1
    bench.sessions.deliver((), BUSY)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(stream.outbox.take(), 0.02)
    bench.sessions.deliver((), IDLE)
    assert (await frame_of(stream)).load.running == 0, "the last word is never late"


def held(digest: str, tier: Tier, state: SlotState, *, hosted: bool = True) -> dict[str, Held | None]:
    return {digest: Held(digest, tier, state, 10, hosted=hosted)}


def residency(frame: pb.EngineFrame) -> tuple[dict[str, int], list[str]]:
    return {each.digest: each.tier for each in frame.residency.held}, list(frame.residency.gone)


async def test_streams_hear_of_each_move_and_new_ones_of_everything() -> None:
    bench = Bench()
    early = bench.sessions.open("early")
    assert (await frame_of(early)).residency.whole
    bench.sessions.hold(held("x", Tier.HOST, SlotState.LOADING, hosted=False))
    bench.sessions.hold(held("y", Tier.HOST, SlotState.READY))
    assert residency(await frame_of(early)) == ({"x": pb.TIER_FETCHING, "y": pb.TIER_HOST}, [])
    bench.sessions.hold(held("y", Tier.GPU, SlotState.LOADING))
    assert residency(await frame_of(early)) == ({"y": pb.TIER_LOADING}, [])
    bench.sessions.hold(held("y", Tier.GPU, SlotState.READY))
    late = bench.sessions.open("late")
    whole = await frame_of(late)
    assert whole.residency.whole
    assert residency(whole) == ({"x": pb.TIER_FETCHING, "y": pb.TIER_GPU}, [])
    bench.sessions.hold({"x": None})
    assert residency(await frame_of(late)) == ({}, ["x"])


async def test_a_slot_that_drains_serves_nobody_who_comes() -> None:
    bench = Bench()
    stream = bench.sessions.open("worker")
    bench.sessions.hold(held("x", Tier.GPU, SlotState.READY))
    await frame_of(stream)
    bench.sessions.hold(held("x", Tier.GPU, SlotState.DRAINING))
    assert residency(await frame_of(stream)) == ({"x": pb.TIER_HOST}, [])
    bench.sessions.hold(held("x", Tier.GPU, SlotState.DRAINING, hosted=False))
    assert residency(await frame_of(stream)) == ({}, ["x"])


async def test_changes_that_do_not_matter_to_gateways_are_not_told() -> None:
    bench = Bench()
    stream = bench.sessions.open("worker")
    bench.sessions.hold(held("x", Tier.GPU, SlotState.READY))
    await frame_of(stream)
    bench.sessions.hold({"x": Held("x", Tier.GPU, SlotState.READY, 10, leases=3, last_use=7.0)})
    bench.sessions.hold({"unknown": None})
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(stream.outbox.take(), 0.02)


async def test_a_stall_is_said_at_once_and_grants_nothing_until_it_is_over() -> None:
    bench = Bench()
    stream = bench.sessions.open("worker")
    bench.sessions.deliver((), replace(BUSY, free_slots=2, idle_slots=1))
    load = (await frame_of(stream)).load
    assert (load.free_slots, load.idle_slots, load.stalled) == (2, 1, False)
    bench.sessions.set_stalled(True)
    assert (await frame_of(stream)).load.stalled
    bench.sessions.apply(stream, pb.GatewayFrame(head=pb.Head(waiting=2, band=pb.BAND_DEFAULT)))
    late = bench.sessions.open("late")
    assert (await frame_of(late)).load.stalled
    bench.sessions.set_stalled(False)
    frame = await frame_of(stream)
    assert (frame.credits, frame.load.stalled) == (2, False)


async def test_draining_refuses_what_comes_and_lets_go_on_what_runs() -> None:
    bench = Bench()
    stream = opened(bench)
    bench.sessions.apply(stream, pb.GatewayFrame(submits=[submit("runs")]))
    await frame_of(stream)
    bench.sessions.drain()
    bench.sessions.apply(stream, pb.GatewayFrame(submits=[submit("late")], head=pb.Head(waiting=9)))
    frame = await frame_of(stream)
    assert [delta.error.code for delta in frame.deltas] == [pb.ERROR_CODE_DRAINING]
    assert frame.credits == 0
    bench.sessions.deliver((tokens(bench.engine.submitted[0].id, 7),), BUSY)
    assert list((await frame_of(stream)).deltas[0].token_ids) == [7]
    bench.sessions.end_all()
    assert [delta.error.code for delta in (await frame_of(stream)).deltas] == [pb.ERROR_CODE_DRAINING]
    assert await stream.outbox.take() is None
