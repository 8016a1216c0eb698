"""The connection, over real gRPC."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from chorus_gateway.engine_client.client import EngineClient
from chorus_gateway.errors import Unavailable
from chorus_gateway.values import Needs
from tests.gateway.support.fake_engine import TOKEN, FakeEngine, Reply
from tests.gateway.support.gateway import eventually
from tests.gateway.support.tokenizers import bundle


class Log:
    def __init__(self) -> None:
        self.events: list[str] = []
        self.stumbles = 0  # times that it will not understand the engine

    def connected(self, engine: EngineClient) -> None:
        self.events.append("connected")
        if self.stumbles:
            self.stumbles -= 1
            raise ValueError("nobody understands this")

    def news(self, engine: EngineClient) -> None: ...

    def lost(self, engine: EngineClient) -> None:
        self.events.append("lost")


@contextlib.asynccontextmanager
async def connected(engine: FakeEngine, log: Log, token: str = TOKEN) -> AsyncIterator[EngineClient]:
    client = EngineClient(engine.address, service_token=token, worker_id="w", created=7, events=log)
    task = asyncio.create_task(client.run())
    try:
        yield client
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    engine = await FakeEngine(bundle(padding=20 << 20), replier=lambda submit: Reply([])).start()
    yield engine
    await engine.stop()


async def test_it_learns_what_the_engine_serves(engine: FakeEngine) -> None:
    async with connected(engine, Log()) as client:
        await eventually(lambda: client.session is not None)
        assert client.description is not None
        base = client.description.base
        assert (base.name, base.digest, base.max_model_len, base.created) == ("chorus-demo", "b" * 64, 512, 7)
        assert (base.eos_token_ids, client.description.max_num_seqs) == ((0,), 8)
        assert client.description.can_hold(Needs(64))
        assert not client.description.can_hold(Needs(65))
        assert not client.description.can_hold(Needs(8, frozenset({"lm_head"})))


async def test_a_tokenizer_of_20_megabytes(engine: FakeEngine) -> None:
    async with connected(engine, Log()) as client:
        assert await client.fetch_tokenizer(engine.description.tokenizer_digest) == bundle(padding=20 << 20)
        with pytest.raises(Unavailable, match="no such tokenizer"):
            await client.fetch_tokenizer("0" * 64)


async def test_it_connects_again(engine: FakeEngine) -> None:
    log = Log()
    async with connected(engine, log) as client:
        await eventually(lambda: log.events == ["connected"])
        await engine.stop()
        await eventually(lambda: log.events == ["connected", "lost"])
        assert client.session is None
        engine.description.max_model_len = 99
        await engine.start()
        await eventually(lambda: log.events == ["connected", "lost", "connected"])
        assert client.description is not None
        assert client.description.base.max_model_len == 99


async def test_a_wrong_token_is_refused_and_tried_again(engine: FakeEngine) -> None:
    log = Log()
    async with connected(engine, log, token="wrong") as client:
        await asyncio.sleep(0.3)
        assert client.session is None
        assert log.events == []


async def test_an_engine_that_breaks_the_protocol_is_left_and_tried_again(engine: FakeEngine) -> None:
    log = Log()

    log.stumbles = 1
    async with connected(engine, log) as client:
        await eventually(lambda: log.events == ["connected", "lost", "connected"])
        assert client.session is not None
