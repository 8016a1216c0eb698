"""Fairness over four gateway workers, scaled down: one event loop, real gRPC sessions, a real Redis, one engine with
real credits and seats. First tokens are timed in the engine's steps, so that a busy machine changes little."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.gateway.fairness import Workers, backlogged, bands, now_and_then, percentile
from benchmarks.gateway.paced_engine import Pace, PacedEngine, make, stepping
from benchmarks.gateway.queue_worker import Worker, running_worker
from chorus_engine.rpc import TokenizerBundle
from tests.gateway.support.redis_server import RedisServer

SHARES = Pace(rows=16, step=0.004, together=16)
TOKENS = 32_000  # the measurement itself takes 200,000
WARM_UP = 12_000
WRONG = 0.07  # of so few tokens more are one batch's
TIMES = Pace(rows=16, step=0.03, together=8)
STEPS = 60
SOON = 12  # steps; alone it is one or two, and an answer of the flood takes 32
TOKEN = "a-secret-of-the-services"


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@asynccontextmanager
async def flooded(workers: Workers, pace: Pace, redis: RedisServer) -> AsyncIterator[tuple[PacedEngine, list[Worker]]]:
    engine, sessions, server, port = make(pace, TokenizerBundle(b"", "0" * 64), TOKEN)
    await server.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.stop, None)
        stack.enter_context(stepping(engine, sessions))
        gateways = [
            await stack.enter_async_context(
                running_worker(f"127.0.0.1:{port}", redis.url, TOKEN, clock=lambda: engine.steps)
            )
            for _ in workers
        ]
        # Whoever asks now and then is known to the engine before the flood comes.
        for gateway, clients in reversed(list(zip(gateways, workers, strict=True))):
            gateway.flood(clients)
            await asyncio.sleep(pace.step)
        yield engine, gateways
        for gateway in gateways:
            gateway.queue.check()


async def shares(workers: Workers, redis: RedisServer, tokens: int = TOKENS) -> dict[str, float]:
    async with flooded(workers, SHARES, redis) as (engine, _):
        await _until(engine, WARM_UP)
        before = dict(engine.tokens)
        await _until(engine, sum(before.values()) + tokens)
        gained = {tenant: count - before.get(tenant, 0) for tenant, count in engine.tokens.items()}
        return {tenant: count / sum(gained.values()) for tenant, count in gained.items()}


async def _until(engine: PacedEngine, tokens: int) -> None:
    async with asyncio.timeout(120):
        while sum(engine.tokens.values()) < tokens:  # noqa: ASYNC110 - the engine says nothing of it
            await asyncio.sleep(0.005)


async def first_tokens(workers: Workers, redis: RedisServer, pace: Pace = TIMES) -> list[float]:
    """Of the tenant that asks now and then, in steps of the engine."""
    async with flooded(workers, pace, redis) as (engine, gateways), asyncio.timeout(120):
        while engine.steps < STEPS:  # noqa: ASYNC110 - the engine says nothing of it
            await asyncio.sleep(0.005)
        return gateways[-1].first_tokens.get("light", [])


@pytest.mark.parametrize(("weight", "expected"), [(1.0, 0.5), (3.0, 0.75)])
async def test_backlogged_tenants_get_what_their_weights_say(
    redis_server: RedisServer, weight: float, expected: float
) -> None:
    got = await shares(backlogged(SHARES.rows, weight=weight), redis_server)
    assert abs(got["light"] - expected) <= WRONG


async def test_who_asks_now_and_then_hardly_waits_beside_a_flood(redis_server: RedisServer) -> None:
    alone = await first_tokens(now_and_then(TIMES.rows, beside=False), redis_server)
    beside = await first_tokens(now_and_then(TIMES.rows, beside=True), redis_server)
    top = now_and_then(TIMES.rows, beside=True, band="priority")
    reserved = await first_tokens(top, redis_server, replace(TIMES, kept=0))
    for times in (alone, beside, reserved):
        assert len(times) >= 5
        assert percentile(times, 0.5) <= SOON


async def test_no_band_starves(redis_server: RedisServer) -> None:
    got = await shares(bands(SHARES.rows), redis_server)
    assert got["top"] > 0.5
    assert got["middle"] > 0.02
    assert got["low"] > 0.02
