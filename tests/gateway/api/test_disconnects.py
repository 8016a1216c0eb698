"""Clients that go: their work ends in the engine within 100 ms, whatever state it is in, and nothing stays behind."""

import asyncio
import json
from typing import Any

import pytest

from tests.gateway.support.fake_engine import FakeEngine, Reply
from tests.gateway.support.gateway import KEY, Gateway, eventually
from tests.gateway.support.tokenizers import ids

WORDS = ids("the quick brown fox jumps over the lazy dog") * 20


async def send(url: str, **fields: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A request on a connection of its own, left open."""
    body = json.dumps({"model": "chorus-demo", "prompt": "hello", "max_tokens": 400} | fields).encode()
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"POST /v1/completions HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {KEY}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
    return reader, writer


@pytest.mark.parametrize("stream", [False, True])
async def test_while_tokens_come(gateway: Gateway, engine: FakeEngine, url: str, stream: bool) -> None:
    engine.replier = lambda submit: Reply(WORDS, pause=0.03)
    _, writer = await send(url, stream=stream)
    await eventually(lambda: engine.running == 1)
    await asyncio.sleep(0.1)
    writer.close()
    await eventually(lambda: len(engine.cancels) == 1)
    await gateway.settles()
    assert 0 < gateway.quota.settled[0] < gateway.quota.reserved[0]


@pytest.mark.parametrize("stream", [False, True])
async def test_before_the_first_token(gateway: Gateway, engine: FakeEngine, url: str, stream: bool) -> None:
    engine.replier = lambda submit: Reply([], hang=True)
    _, writer = await send(url, stream=stream)
    await eventually(lambda: engine.running == 1)
    writer.close()
    await eventually(lambda: len(engine.cancels) == 1)
    await gateway.settles()
    assert gateway.quota.settled == [0]


@pytest.mark.parametrize("stream", [False, True])
async def test_while_queued(gateway: Gateway, engine: FakeEngine, url: str, stream: bool) -> None:
    engine.granting = False
    _, writer = await send(url, stream=stream)
    await eventually(lambda: gateway.dispatcher.waiting == 1)
    writer.close()
    await eventually(lambda: gateway.dispatcher.waiting == 0)
    await gateway.settles()
    assert engine.submits == []
    assert gateway.quota.settled == [0]


async def test_all_choices_are_cancelled(gateway: Gateway, engine: FakeEngine, url: str) -> None:
    engine.replier = lambda submit: Reply(WORDS, pause=0.01)
    _, writer = await send(url, stream=True, n=3)
    await eventually(lambda: engine.running == 3)
    writer.close()
    await eventually(lambda: len(engine.cancels) == 3)
    assert engine.running == 0
    await gateway.settles()


async def test_others_go_on(gateway: Gateway, engine: FakeEngine, url: str) -> None:
    engine.replier = lambda submit: Reply(WORDS[:30], pause=0.01)
    _, leaver = await send(url, stream=True)
    stayer_reader, stayer = await send(url, stream=True)
    await eventually(lambda: engine.running == 2)
    leaver.close()
    answer = await stayer_reader.readuntil(b"[DONE]")
    assert b'"finish_reason":"stop"' in answer
    stayer.close()
    await gateway.settles()
    assert len(engine.cancels) == 1
