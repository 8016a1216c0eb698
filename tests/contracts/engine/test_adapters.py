"""Adapters on first use, and those that cannot be used."""

import asyncio
import hashlib

import pytest

from chorus_engine.adapters import AdapterFiles
from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.contracts.engine.conftest import Served
from tests.contracts.engine.support.gateway import Gateway, sampling, submit


async def test_an_adapter_changes_the_answer_and_is_fetched_once(served: Served, gateway: Gateway) -> None:
    prompt = list(range(3, 20))
    base = await gateway.ask(submit("base", prompt))
    await gateway.submit(*(submit(f"tuned-{i}", prompt, adapter_digest=served.adapter) for i in range(3)))
    tuned = [await gateway.answer(f"tuned-{i}") for i in range(3)]
    assert tuned[0].token_ids != base.token_ids
    assert tuned[0].token_ids == tuned[1].token_ids == tuned[2].token_ids
    assert served.store.fetched.count(served.adapter) == 1


async def test_an_unknown_adapter_fails_its_request_alone(served: Served, gateway: Gateway) -> None:
    await gateway.submit(submit("lost", adapter_digest="ab" * 32), submit("base"))
    lost, base = await gateway.answer("lost"), await gateway.answer("base")
    assert lost.end.error.code == pb.ERROR_CODE_ADAPTER_NOT_FOUND
    assert "ab" * 32 in lost.end.error.message
    assert len(base.token_ids) == 8


async def test_tampered_bytes_are_refused(served: Served, gateway: Gateway) -> None:
    files = served.store.files[served.adapter]
    broken = bytearray(files.model)
    broken[-1] ^= 1
    digest = served.store.put(AdapterFiles(files.config, bytes(broken)), digest="cd" * 32)
    answer = await gateway.ask(submit("tampered", adapter_digest=digest))
    assert answer.end.error.code == pb.ERROR_CODE_ADAPTER_UNUSABLE
    assert digest in answer.end.error.message


async def test_others_go_on_while_an_adapter_is_on_its_way(served: Served, gateway: Gateway) -> None:
    files = served.store.files[served.adapter]
    digest = served.store.put(AdapterFiles(files.config + b"\n", files.model))
    served.store.gate.clear()
    try:
        await gateway.submit(submit("slow", adapter_digest=digest))
        for i in range(3):
            assert len((await gateway.ask(submit(f"base-{i}"))).token_ids) == 8
        assert ("slow", 0) not in gateway.answers
    finally:
        served.store.gate.set()
    assert len((await gateway.answer("slow")).token_ids) == 8


@pytest.mark.parametrize("ending", ["cancel", "deadline"])
async def test_a_request_that_waits_for_its_adapter_can_end(served: Served, gateway: Gateway, ending: str) -> None:
    digest = hashlib.sha256(ending.encode()).hexdigest()
    served.store.gate.clear()
    try:
        timeout = 100 if ending == "deadline" else 0
        await gateway.submit(submit("waits", adapter_digest=digest, timeout_ms=timeout, sampling=sampling(4)))
        await asyncio.sleep(0.05)
        if ending == "cancel":
            await gateway.send(cancels=[pb.Cancel(request_id="waits")])
        answer = await gateway.answer("waits")
    finally:
        served.store.gate.set()
    reasons = {"cancel": pb.FINISH_REASON_CANCELLED, "deadline": pb.FINISH_REASON_DEADLINE}
    assert answer.end.finish_reason == reasons[ending]
    assert not answer.token_ids
