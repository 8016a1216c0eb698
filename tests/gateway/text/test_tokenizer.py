"""Tokenizers from an engine's bundle."""

import asyncio
import hashlib
import time

import pytest

from chorus_gateway.ask import ChatPrompt
from chorus_gateway.errors import Internal, InvalidRequest, Unavailable
from chorus_gateway.text.bundle import Bundle
from chorus_gateway.text.cache import TokenizerCache
from chorus_gateway.text.tokenizer import ModelTokenizer
from tests.gateway.support.tokenizers import bundle, ids

CHAT = ChatPrompt(({"role": "user", "content": "hello"},))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def made(data: bytes) -> ModelTokenizer:
    return ModelTokenizer(Bundle(digest(data), data))


async def test_prompts_of_all_kinds() -> None:
    tokenizer = made(bundle())
    assert list(await tokenizer.encode("hello")) == ids("hello")
    assert list(await tokenizer.encode(CHAT)) == ids("<|user|>hello<|end|><|assistant|>")
    assert await tokenizer.encode((5, 6)) == (5, 6)


async def test_a_long_prompt_does_not_stop_the_loop() -> None:
    tokenizer = made(bundle())
    text = "the quick brown fox " * 50_000
    waits: list[float] = []

    async def watch() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            waits.append(time.perf_counter() - before)

    watcher = asyncio.create_task(watch())
    await asyncio.sleep(0)
    started = time.perf_counter()
    assert len(await tokenizer.encode(text)) > 50_000
    took = time.perf_counter() - started
    watcher.cancel()
    assert len(waits) > 3, f"the loop did not run during {took:.2f} s of tokenizing"


async def test_no_chat_template() -> None:
    with pytest.raises(InvalidRequest, match="use /v1/completions"):
        await made(bundle(template=None)).encode(CHAT)


def test_bytes_that_are_not_what_was_said() -> None:
    data = bundle()
    with pytest.raises(Internal, match="has digest"):
        Bundle("0" * 64, data)
    with pytest.raises(Internal, match="cannot be read"):
        Bundle(digest(b"\xff\xff"), b"\xff\xff")
    with pytest.raises(Internal, match=r"no tokenizer\.json"):
        Bundle(digest(b""), b"")


async def test_a_tokenizer_is_fetched_once_and_a_failure_is_not_kept() -> None:
    data, calls = bundle(), 0

    async def fetch(wanted: str) -> bytes:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.01)
        if calls == 1:
            raise Unavailable("not now")
        return data

    cache = TokenizerCache(fetch)
    with pytest.raises(Unavailable):
        await cache.get(digest(data))
    found = await asyncio.gather(*(cache.get(digest(data)) for _ in range(5)))
    assert all(tokenizer is found[0] for tokenizer in found)
    assert calls == 2


async def test_who_gives_up_does_not_end_the_fetch_of_others() -> None:
    data = bundle()

    async def fetch(wanted: str) -> bytes:
        await asyncio.sleep(0.02)
        return data

    cache = TokenizerCache(fetch)
    first = asyncio.create_task(cache.get(digest(data)))
    second = asyncio.create_task(cache.get(digest(data)))
    await asyncio.sleep(0.005)
    first.cancel()
    assert await second is await cache.get(digest(data))
