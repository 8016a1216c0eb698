"""The session's rules."""

import asyncio
import time
from typing import Any

import grpc
import grpc.aio
import pytest
import torch

from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.contracts.engine.support.gateway import METADATA, Gateway, open_channel, open_gateway, sampling, submit


async def test_a_stream_begins_with_hello(engine_address: str) -> None:
    async with open_channel(engine_address) as stub:
        call = stub.Session(metadata=METADATA)
        await call.write(pb.GatewayFrame(head=pb.Head(waiting=1)))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(aiter(call))
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_submit_is_answered_with_its_tokens(gateway: Gateway) -> None:
    answer = await gateway.ask(submit("a", sampling=sampling(9)))
    assert len(answer.token_ids) == 9
    assert answer.end.finish_reason == pb.FINISH_REASON_LENGTH
    usage = answer.end.usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (3, 9)
    assert usage.computed_tokens + usage.cached_tokens >= 3 + 8
    assert answer.end.timing.prefill_us > 0
    assert answer.end.timing.decode_us > 0
    assert not answer.logprobs


async def test_the_same_seed_gives_the_same_tokens_in_any_company(gateway: Gateway) -> None:
    warm = sampling(12, temperature=1.0, seed=7)
    alone = await gateway.ask(submit("alone", sampling=warm))
    others = [submit(f"other-{i}", range(1, 40 + i), sampling=sampling(12, temperature=1.0)) for i in range(3)]
    await gateway.submit(submit("together", sampling=warm), *others)
    together = await gateway.answer("together")
    assert together.token_ids == alone.token_ids
    different = await gateway.ask(submit("different", sampling=sampling(12, temperature=1.0, seed=8)))
    assert different.token_ids != alone.token_ids


async def test_log_probabilities_come_when_asked_for(gateway: Gateway) -> None:
    answer = await gateway.ask(submit("a", sampling=sampling(4, logprobs=3)))
    assert len(answer.logprobs) == 4
    for token_id, logprobs in zip(answer.token_ids, answer.logprobs, strict=True):
        assert len(logprobs.top_token_ids) == 3
        assert logprobs.top_token_ids[0] == token_id, "greedy takes the likeliest"
        assert logprobs.logprob == pytest.approx(logprobs.top_logprobs[0])
        assert sorted(logprobs.top_logprobs, reverse=True) == list(logprobs.top_logprobs)


async def test_a_prompt_alone_is_answered_by_what_was_asked_of_it(gateway: Gateway) -> None:
    silent = await gateway.ask(submit("silent", sampling=sampling(0)))
    assert (silent.token_ids, silent.end.finish_reason) == ([], pb.FINISH_REASON_LENGTH)
    assert (silent.end.usage.prompt_tokens, silent.end.usage.completion_tokens) == (3, 0)
    scored = await gateway.ask(submit("scored", sampling=sampling(0, prompt_logprobs=2)))
    assert [len(each.top_token_ids) for each in scored.prompt_logprobs] == [2, 2]


async def test_a_prompts_log_probabilities_come_before_its_answer(gateway: Gateway) -> None:
    plain = await gateway.ask(submit("plain"))
    answer = await gateway.ask(submit("both", range(3, 203), sampling=sampling(4, prompt_logprobs=0, logprobs=1)))
    assert (len(answer.prompt_logprobs), len(answer.token_ids), len(answer.logprobs)) == (199, 4, 4)
    assert all(each.logprob < 0 and not each.top_token_ids for each in answer.prompt_logprobs)
    assert not plain.prompt_logprobs


@pytest.mark.parametrize("pooling", [pb.POOLING_MEAN, pb.POOLING_LAST])
async def test_an_embedding_has_length_one_and_depends_on_its_prompt_alone(
    gateway: Gateway, pooling: pb.Pooling
) -> None:
    asked = {name: submit(name, prompt, pooling=pooling, sampling=sampling(0)) for name, prompt in PROMPTS.items()}
    alone = {name: await gateway.ask(each) for name, each in asked.items()}
    others = [submit(f"other-{number}") for number in range(2)]
    again = [submit(f"again-{name}", prompt, pooling=pooling, sampling=sampling(0)) for name, prompt in PROMPTS.items()]
    await gateway.submit(*others, *again)
    vectors = []
    for name in asked:
        vector = torch.frombuffer(bytearray(alone[name].end.embedding), dtype=torch.float32)
        together = (await gateway.answer(f"again-{name}")).end
        torch.testing.assert_close(torch.frombuffer(bytearray(together.embedding), dtype=torch.float32), vector)
        assert float(vector.norm()) == pytest.approx(1)
        assert not together.token_ids
        vectors.append(vector)
    assert float(vectors[0] @ vectors[1]) < 0.99


async def test_a_stop_token_ends_the_request_and_is_part_of_it(gateway: Gateway) -> None:
    free = await gateway.ask(submit("free", sampling=sampling(6)))
    stopped = await gateway.ask(submit("stopped", sampling=sampling(6, stop_token_ids=[free.token_ids[2]])))
    assert stopped.end.finish_reason == pb.FINISH_REASON_STOP
    assert stopped.token_ids == free.token_ids[: free.token_ids.index(free.token_ids[2]) + 1]


PROMPTS = {"short": (5, 6, 7), "long": tuple(range(8, 180))}
BAD = {
    "max_model_len is 1024": submit("bad", range(1, 200), sampling=sampling(1000)),
    "0 tokens": submit("bad", ()),
    "token id 211": submit("bad", (3, 211)),
    "min_tokens is 9": submit("bad", sampling=sampling(8, min_tokens=9)),
    "temperature is -1.0": submit("bad", sampling=sampling(temperature=-1.0)),
    "temperature is nan": submit("bad", sampling=sampling(temperature=float("nan"))),
    "top_p is 0.0": submit("bad", sampling=sampling(top_p=0.0)),
    "min_p is 1.5": submit("bad", sampling=sampling(min_p=1.5)),
    "repetition_penalty is 0.0": submit("bad", sampling=sampling(repetition_penalty=0.0)),
    "presence_penalty is inf": submit("bad", sampling=sampling(presence_penalty=float("inf"))),
    "token id 400": submit("bad", sampling=sampling(logit_bias={400: 1.0})),
    "logit_bias[3] is nan": submit("bad", sampling=sampling(logit_bias={3: float("nan")})),
    "token id 999": submit("bad", sampling=sampling(stop_token_ids=[999])),
    "logprobs is 21": submit("bad", sampling=sampling(logprobs=21)),
    "speculation is 17": submit("bad", sampling=sampling(speculation=17)),
    "prompt_logprobs is 21": submit("bad", sampling=sampling(prompt_logprobs=21)),
    "an embedding takes max_tokens 0": submit("bad", pooling=pb.POOLING_LAST),
    "cache_namespace has 5 bytes": submit("bad", cache_namespace=b"short"),
    "adapter_digest is 'reverse'": submit("bad", adapter_digest="reverse"),
    "band is 0": submit("bad", band=pb.BAND_UNSPECIFIED),
    "counter is nan": submit("bad", counter=float("nan")),
}


@pytest.mark.parametrize("reason", BAD)
async def test_a_bad_submit_ends_itself_alone(gateway: Gateway, reason: str) -> None:
    await gateway.submit(submit("good", sampling=sampling(8)), BAD[reason])
    bad, good = await gateway.answer("bad"), await gateway.answer("good")
    assert bad.end.finish_reason == pb.FINISH_REASON_ERROR
    assert bad.end.error.code == pb.ERROR_CODE_INVALID
    assert reason in bad.end.error.message
    assert len(good.token_ids) == 8


async def test_a_running_submission_cannot_be_submitted_again(engine_address: str, gateway: Gateway) -> None:
    await gateway.submit(submit("twice", sampling=sampling(900)))
    async with open_gateway(engine_address, "other") as other:
        answer = await other.ask(submit("twice"))
        assert answer.end.error.code == pb.ERROR_CODE_INVALID
        assert len((await other.ask(submit("twice", attempt=1))).token_ids) == 8
    await gateway.send(cancels=[pb.Cancel(request_id="twice")])
    assert (await gateway.answer("twice")).end.finish_reason == pb.FINISH_REASON_CANCELLED


async def test_cancel_ends_a_request(gateway: Gateway) -> None:
    await gateway.submit(submit("long", sampling=sampling(1000)))
    await gateway.wait_for(lambda: ("long", 0) in gateway.answers)
    await gateway.send(cancels=[pb.Cancel(request_id="long"), pb.Cancel(request_id="unknown", attempt=3)])
    answer = await gateway.answer("long")
    assert answer.end.finish_reason == pb.FINISH_REASON_CANCELLED
    assert answer.end.usage.completion_tokens == len(answer.token_ids) < 1000
    await gateway.wait_for(lambda: _idle(gateway))
    assert gateway.load is not None
    assert gateway.load.free_blocks == gateway.load.total_blocks


async def test_a_deadline_ends_a_request_with_its_own_reason(gateway: Gateway) -> None:
    answer = await gateway.ask(submit("late", sampling=sampling(1000), timeout_ms=60))
    assert answer.end.finish_reason == pb.FINISH_REASON_DEADLINE
    assert 0 < len(answer.token_ids) < 1000


async def test_the_end_of_a_stream_cancels_its_requests(engine_address: str, gateway: Gateway) -> None:
    async with open_gateway(engine_address, "leaving") as leaving:
        await leaving.submit(submit("orphan", sampling=sampling(1000)))
        await leaving.wait_for(lambda: ("orphan", 0) in leaving.answers)
    assert (await gateway.ask(submit("stays"))).end.finish_reason == pb.FINISH_REASON_LENGTH
    await gateway.wait_for(lambda: _idle(gateway))


async def test_what_a_broken_streams_requests_came_to_is_kept(engine_address: str) -> None:
    """Until it is acknowledged; that of requests too whose last delta went out."""
    async with open_gateway(engine_address, "broken") as broken:
        ended = await broken.ask(submit("ended", sampling=sampling(4)))
        await broken.submit(submit("running", sampling=sampling(1000)))
        await broken.wait_for(lambda: ("running", 0) in broken.answers)
    async with open_channel(engine_address) as stub:

        async def ask(worker_id: str = "broken") -> pb.OrphanedUsageResponse:
            answer: pb.OrphanedUsageResponse = await stub.OrphanedUsage(
                pb.OrphanedUsageRequest(worker_id=worker_id), metadata=METADATA
            )
            return answer

        until = time.monotonic() + 60
        while (kept := await ask()).live and time.monotonic() < until:  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.02)
        usages = {each.submission.request_id: each.usage for each in kept.ended}
        assert usages.keys() == {"ended", "running"}
        assert usages["ended"] == ended.end.usage
        assert 0 < usages["running"].completion_tokens < 1000
        assert usages["running"].computed_tokens >= usages["running"].completion_tokens
        assert not (await ask("somebody else")).ended
        told = pb.AcknowledgeUsageRequest(worker_id="broken", submissions=[each.submission for each in kept.ended])
        await stub.AcknowledgeUsage(told, metadata=METADATA)
        assert not (await ask()).ended


async def test_half_closing_a_stream_ends_it(engine_address: str) -> None:
    async with open_channel(engine_address) as stub:
        call = stub.Session(metadata=METADATA)
        await call.write(pb.GatewayFrame(hello=pb.Hello(worker_id="brief")))
        await call.done_writing()
        assert [frame async for frame in call if frame.deltas] == []
        assert await call.code() is grpc.StatusCode.OK


def _idle(gateway: Gateway) -> bool:
    return gateway.load is not None and gateway.load.running == gateway.load.waiting == 0


async def test_a_submit_without_a_credit_is_answered_so(gateway: Gateway) -> None:
    held = await _take_all_credits(gateway)
    await gateway.send(submits=[submit(f"r{i}") for i in range(held + 1)])
    answer = await gateway.answer(f"r{held}")
    assert answer.end.error.code == pb.ERROR_CODE_NO_CREDIT
    gateway.credits -= held
    assert len((await gateway.ask(submit("paid"))).token_ids) == 8


async def test_credits_are_granted_to_who_waits_and_bounded(gateway: Gateway) -> None:
    await gateway.ask_for_credits(100)
    await gateway.wait_for(lambda: gateway.credits >= 4)
    await asyncio.sleep(0.1)
    granted = gateway.credits
    assert 4 <= granted <= 8, "about as many as run at once"
    await gateway.send(returned_credits=granted, head=pb.Head(waiting=0))
    gateway.credits = 0
    await asyncio.sleep(0.1)
    assert gateway.credits == 0, "nothing waits"


async def test_a_free_credit_goes_to_the_lowest_head(engine_address: str, gateway: Gateway) -> None:
    async with open_gateway(engine_address, "first") as first, open_gateway(engine_address, "second") as second:
        held = await _take_all_credits(gateway)
        await second.ask_for_credits(5, pb.BAND_DEFAULT, counter=10.0)
        await first.ask_for_credits(5, pb.BAND_DEFAULT, counter=20.0)
        await asyncio.sleep(0.1)
        assert first.credits == second.credits == 0, "all are taken"
        await gateway.send(returned_credits=1, head=pb.Head(waiting=0))
        await second.wait_for(lambda: second.credits == 1)
        await first.ask_for_credits(5, pb.BAND_PRIORITY, counter=30.0)
        await gateway.send(returned_credits=1)
        await first.wait_for(lambda: first.credits == 1)
        await asyncio.sleep(0.05)
        assert (first.credits, second.credits) == (1, 1)
        await gateway.send(returned_credits=held - 2)


async def _take_all_credits(gateway: Gateway) -> int:
    await gateway.ask_for_credits(100)
    await gateway.wait_for(lambda: gateway.credits >= 4)
    await asyncio.sleep(0.1)
    return gateway.credits


async def test_a_lost_stream_gives_its_credits_back(engine_address: str, gateway: Gateway) -> None:
    async with open_gateway(engine_address, "hoarder") as hoarder:
        await _take_all_credits(hoarder)
        before = gateway.credits
        await gateway.ask_for_credits(before + 1)
        await asyncio.sleep(0.1)
        assert gateway.credits == before
    await gateway.wait_for(lambda: gateway.credits > before)


async def test_a_frame_carries_all_news_of_a_step(gateway: Gateway) -> None:
    before = gateway.frames
    await gateway.submit(*(submit(f"r{i}", sampling=sampling(50)) for i in range(4)))
    for i in range(4):
        assert len((await gateway.answer(f"r{i}")).token_ids) == 50
    assert gateway.frames - before < 100, "four requests of 50 tokens run side by side"


async def test_requests_beyond_the_rows_wait_their_turn(gateway: Gateway) -> None:
    names = [f"r{i}" for i in range(12)]
    waiting: list[Any] = [submit(name, sampling=sampling(20)) for name in names]
    await gateway.ask_for_credits(len(waiting))
    while waiting:
        await gateway.wait_for(lambda: gateway.credits > 0)
        now = [waiting.pop(0) for _ in range(min(gateway.credits, len(waiting)))]
        gateway.credits -= len(now)
        await gateway.send(submits=now, head=pb.Head(waiting=len(waiting), band=pb.BAND_DEFAULT))
    answers = [await gateway.answer(name) for name in names]
    assert {tuple(answer.token_ids) for answer in answers} == {tuple(answers[0].token_ids)}
