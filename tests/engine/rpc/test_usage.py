"""What the engine keeps for gateways that have not taken it down."""

import asyncio
from pathlib import Path

from chorus_engine.core.request import FinishReason, Output, SampledToken, Usage
from chorus_engine.rpc.sessions import Stream
from chorus_engine.rpc.usage import SubmissionId, UsageBook
from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.contracts.engine.support.gateway import METADATA, open_channel, submit
from tests.engine.rpc.fakes import BUSY, Bench, serve

A, B, C = (SubmissionId(name, 0) for name in "abc")


def test_it_keeps_until_acknowledged_by_whose_it_is() -> None:
    book = UsageBook()
    book.keep("one", A, Usage(3, 1))
    book.keep("one", SubmissionId("a", 1), Usage(3, 2))
    book.keep("two", A, Usage(3, 7))
    book.acknowledge("two", [B, SubmissionId("a", 1)])  # not its own
    assert book.of("one") == [(A, Usage(3, 1)), (SubmissionId("a", 1), Usage(3, 2))]
    book.acknowledge("one", [A])
    assert book.of("one") == [(SubmissionId("a", 1), Usage(3, 2))]
    assert book.of("two") == [(A, Usage(3, 7))]
    assert book.of("nobody") == []
    assert len(book) == 2


def test_the_oldest_are_dropped_and_counted() -> None:
    dropped: list[int] = []
    book = UsageBook(dropped=dropped.append, max_kept=2)
    for submission in (A, B, C):
        book.keep("one", submission, Usage(1, 1))
    assert [submission for submission, _ in book.of("one")] == [B, C]
    assert dropped == [1]


def test_what_is_old_is_dropped_when_it_is_looked_for() -> None:
    dropped: list[int] = []
    now = 0.0
    book = UsageBook(dropped=dropped.append, max_age=10, clock=lambda: now)
    book.keep("one", A, Usage(1, 1))
    now = 6.0
    book.keep("one", B, Usage(1, 1))
    now = 11.0
    assert [submission for submission, _ in book.of("one")] == [B]
    now = 17.0
    assert book.of("one") == []
    assert dropped == [1, 1]
    assert len(book) == 0


def _opened(bench: Bench, *names: str) -> Stream:
    stream = bench.sessions.open("worker")
    bench.sessions.apply(stream, pb.GatewayFrame(head=pb.Head(waiting=len(names), band=pb.BAND_DEFAULT)))
    for name in names:
        bench.sessions.apply(stream, pb.GatewayFrame(submits=[submit(name, attempt=2)]))
    assert len(bench.engine.submitted) == len(names)
    return stream


def _end(bench: Bench, name: str, finish: FinishReason, usage: Usage) -> None:
    bench.sessions.deliver((Output(f"2:{name}", (SampledToken(5),), finish, usage=usage),), BUSY)


async def test_a_broken_streams_requests_leave_their_usage() -> None:
    bench = Bench()
    stream = _opened(bench, "a", "b")
    _end(bench, "a", FinishReason.STOP, Usage(3, 1, 2, 4))  # its last frame may have been lost
    bench.sessions.close(stream)
    before = bench.sessions.usage_of("worker")
    assert [each.request_id for each in before.live] == ["b"]
    _end(bench, "b", FinishReason.CANCELLED, Usage(3, 9, 0, 12))
    kept = bench.sessions.usage_of("worker")
    assert {
        (each.submission.request_id, each.submission.attempt): each.usage.computed_tokens for each in kept.ended
    } == {
        ("a", 2): 4,
        ("b", 2): 12,
    }
    assert not kept.live
    assert not bench.sessions.usage_of("another").ended


async def test_a_gateway_acknowledges_on_any_of_its_streams() -> None:
    bench = Bench()
    _opened(bench, "a")
    _end(bench, "a", FinishReason.STOP, Usage(3, 1))
    stranger, second = bench.sessions.open("stranger"), bench.sessions.open("worker")
    acknowledged = pb.GatewayFrame(acknowledged=[pb.SubmissionId(request_id="a", attempt=2)])
    bench.sessions.apply(stranger, acknowledged)
    assert bench.sessions.usage_of("worker").ended
    bench.sessions.apply(second, acknowledged)
    assert not bench.sessions.usage_of("worker").ended


async def test_heirs_ask_and_acknowledge_over_the_wire(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    bench = Bench()
    stream = _opened(bench, "a")
    async with serve(bench.sessions, tmp_path) as address, open_channel(address) as stub:
        bench.sessions.close(stream)
        _end(bench, "a", FinishReason.CANCELLED, Usage(3, 5, 1, 8))
        ask = pb.OrphanedUsageRequest(worker_id="worker")
        answer = await asyncio.wait_for(stub.OrphanedUsage(ask, metadata=METADATA), 60)
        (final,) = answer.ended
        assert (final.usage.prompt_tokens, final.usage.completion_tokens, final.usage.cached_tokens) == (3, 5, 1)
        told = pb.AcknowledgeUsageRequest(worker_id="worker", submissions=[final.submission])
        await stub.AcknowledgeUsage(told, metadata=METADATA)
        assert not (await stub.OrphanedUsage(ask, metadata=METADATA)).ended
