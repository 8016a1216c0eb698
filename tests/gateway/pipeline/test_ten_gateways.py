"""Ten gateways, two engines and a real Redis: an adapter that all of them miss at once is loaded once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing

import pytest
from redis.asyncio import Redis

from chorus_gateway.routing.claims import RedisClaims
from tests.gateway.support.answers import Heard, ask
from tests.gateway.support.fake_engine import FakeEngine, Reply
from tests.gateway.support.gateway import Gateway, GatewaySettings, running_gateway
from tests.gateway.support.tokenizers import END, bundle, ids

ADAPTERS = {f"chorus-demo@cold-{at}": f"{at:064x}" for at in range(6)}


@pytest.fixture
async def roomy_engines() -> AsyncIterator[list[FakeEngine]]:
    def make(name: str) -> FakeEngine:
        return FakeEngine(bundle(), replier=lambda submit: Reply([*ids(name), END]), engine_id=name, max_num_seqs=64)

    engines = [await make(name).start() for name in ("first", "second")]
    for engine in engines:
        engine.adapters.seconds = 0.1
    yield engines
    for engine in engines:
        await engine.stop()


@pytest.fixture
async def gateways(roomy_engines: list[FakeEngine], redis: Redis) -> AsyncIterator[list[Gateway]]:
    async with AsyncExitStack() as stack:
        books = [await stack.enter_async_context(aclosing(RedisClaims(redis))) for _ in range(10)]
        settings = [GatewaySettings(claims=book) for book in books]
        gateways = [await stack.enter_async_context(running_gateway(roomy_engines, each)) for each in settings]
        for gateway in gateways:
            gateway.models.adapters |= ADAPTERS
        yield gateways


async def test_an_adapter_that_all_miss_at_once_is_loaded_once(
    gateways: list[Gateway], roomy_engines: list[FakeEngine]
) -> None:
    async def one(at: int, gateway: Gateway, model: str) -> None:
        await gateway.pipeline.run(ask(f"{at}-{model}", model=model), Heard())

    await asyncio.gather(*(one(at, gateway, model) for model in ADAPTERS for at, gateway in enumerate(gateways)))
    fetches = [engine.adapters.fetches for engine in roomy_engines]
    assert fetches[0] + fetches[1] == dict.fromkeys(ADAPTERS.values(), 1)
    assert all(fetches), "the adapters are spread"
    results = {
        result: sum(
            gateway.metrics.registry.get_sample_value("adapter_claims_total", {"result": result}) or 0
            for gateway in gateways
        )
        for result in ("won", "contended", "unavailable")
    }
    assert results["won"] == len(ADAPTERS)
    assert results["unavailable"] == 0
    for gateway in gateways:
        await gateway.settles()
