"""What a stream has not sent: merged, bounded, never waiting."""

import asyncio

import pytest

from chorus_engine.rpc.outbox import Outbox, OutboxOverflow
from chorus_engine.rpc.residency import UnsentResidency
from chorus_proto.engine.v1 import engine_pb2 as pb


def delta(request_id: str, *token_ids: int, **fields: object) -> pb.Delta:
    return pb.Delta(request_id=request_id, token_ids=token_ids, **fields)  # type: ignore[arg-type]  # any of Delta's


async def taken(outbox: Outbox) -> pb.EngineFrame:
    frame = await asyncio.wait_for(outbox.take(), 60)
    assert frame is not None
    return frame


async def test_unsent_deltas_of_a_request_become_one() -> None:
    outbox = Outbox()
    logprobs = [pb.TokenLogprobs(logprob=-1.0)]
    outbox.add(delta("a", 1, logprobs=logprobs))
    outbox.add(delta("b", 7))
    outbox.add(delta("a", 2, 3, logprobs=logprobs * 2))
    usage = pb.Usage(prompt_tokens=5, completion_tokens=4)
    outbox.add(delta("a", 4, finish_reason=pb.FINISH_REASON_STOP, usage=usage))
    frame = await taken(outbox)
    a, b = frame.deltas
    assert (a.request_id, list(a.token_ids), len(a.logprobs)) == ("a", [1, 2, 3, 4], 3)
    assert (a.finish_reason, a.usage) == (pb.FINISH_REASON_STOP, usage)
    assert (b.request_id, list(b.token_ids)) == ("b", [7])


async def test_attempts_of_a_request_are_kept_apart() -> None:
    outbox = Outbox()
    outbox.add(delta("a", 1, attempt=0))
    outbox.add(delta("a", 2, attempt=1))
    assert [list(each.token_ids) for each in (await taken(outbox)).deltas] == [[1], [2]]


async def test_what_was_taken_is_not_sent_again() -> None:
    outbox = Outbox()
    outbox.add(delta("a", 1))
    outbox.add_credits(2)
    assert (await taken(outbox)).credits == 2
    assert outbox.bytes == 0
    outbox.add(delta("a", 2))
    frame = await taken(outbox)
    assert [list(each.token_ids) for each in frame.deltas] == [[2]]
    assert frame.credits == 0


async def test_take_waits_for_news() -> None:
    outbox = Outbox()
    await taken(outbox)
    taking = asyncio.create_task(outbox.take())
    await asyncio.sleep(0.01)
    assert not taking.done()
    outbox.set_load(pb.Load(running=3), send=False)
    await asyncio.sleep(0.01)
    assert not taking.done(), "load alone goes with the next frame"
    outbox.add_credits(1)
    frame = await asyncio.wait_for(taking, 60)
    assert frame is not None
    assert frame.load.running == 3


async def test_the_first_frame_says_where_all_adapters_are_and_later_ones_what_changed() -> None:
    tiers: dict[str, pb.Tier] = {"a": pb.TIER_GPU, "b": pb.TIER_HOST}
    outbox = Outbox(tiers=tiers)
    tiers["c"] = pb.TIER_FETCHING
    outbox.move({"c": pb.TIER_FETCHING})
    first = (await taken(outbox)).residency
    assert first.whole
    assert {held.digest: held.tier for held in first.held} == tiers
    for tier in (pb.TIER_HOST, pb.TIER_LOADING):
        tiers["c"] = tier
        outbox.move({"c": tier})
    del tiers["a"]
    outbox.move({"a": None})
    frame = await taken(outbox)
    assert not frame.residency.whole
    assert [(held.digest, held.tier) for held in frame.residency.held] == [("c", pb.TIER_LOADING)]
    assert list(frame.residency.gone) == ["a"]
    outbox.add_credits(1)
    assert not (await taken(outbox)).HasField("residency")


async def test_residency_is_told_in_frames_of_bounded_size() -> None:
    tiers: dict[str, pb.Tier] = {f"{i:064x}": pb.TIER_HOST for i in range(20_000)}
    outbox = Outbox(tiers=tiers)
    frames = [await taken(outbox) for _ in range(3)]
    assert [frame.residency.whole for frame in frames] == [True, False, False]
    assert {held.digest for frame in frames for held in frame.residency.held} == tiers.keys()
    assert max(frame.ByteSize() for frame in frames) < 1 << 20


async def test_what_nobody_reads_becomes_the_whole_again() -> None:
    tiers: dict[str, pb.Tier] = {"stays": pb.TIER_GPU}
    unsent = UnsentResidency(tiers, most=10)
    unsent.take()
    for i in range(1000):
        unsent.add({f"passes-{i}": None})
    message = unsent.take()
    assert message is not None
    sent = len(message.held) + len(message.gone)
    while (more := unsent.take()) is not None:
        sent += len(more.held) + len(more.gone)
    assert sent < 40


async def test_passing_the_bound_ends_the_stream() -> None:
    outbox = Outbox(limit=2000)
    outbox.add(delta("a", *range(900)))
    with pytest.raises(OutboxOverflow):
        outbox.add(delta("a", *range(900)))
    with pytest.raises(OutboxOverflow):
        await outbox.take()


async def test_bytes_bound_the_frame() -> None:
    outbox = Outbox()
    for token_id in range(300):
        outbox.add(delta(f"request-{token_id % 7}", token_id, logprobs=[pb.TokenLogprobs(logprob=-0.5)]))
    promised = outbox.bytes
    assert (await taken(outbox)).ByteSize() <= promised


async def test_a_closed_outbox_gives_what_is_left() -> None:
    outbox = Outbox()
    outbox.add(delta("a", 1))
    outbox.close()
    assert len((await taken(outbox)).deltas) == 1
    assert await outbox.take() is None
