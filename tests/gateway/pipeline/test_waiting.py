"""How long a request may wait for an engine, and what it is told when that would be too long."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from chorus_gateway.errors import DeadlineExceeded, Overloaded
from chorus_gateway.routing.dispatcher import DispatchLimits
from chorus_gateway.values import Band
from tests.gateway.support.answers import Heard, ask
from tests.gateway.support.fake_engine import FakeEngine, Reply
from tests.gateway.support.gateway import Gateway, GatewaySettings, eventually, running_gateway
from tests.gateway.support.tokenizers import END, bundle

SECONDS = 0.02  # that the engine takes for a request


@pytest.fixture
async def slow() -> AsyncIterator[FakeEngine]:
    """One request at a time."""
    engine = FakeEngine(bundle(), replier=lambda submit: Reply([END], pause=SECONDS), max_num_seqs=1)
    yield await engine.start()
    await engine.stop()


def settings(max_wait: float) -> GatewaySettings:
    return GatewaySettings(dispatch=DispatchLimits(max_wait=max_wait), max_jobs=10_000)


def flood(gateway: Gateway, count: int) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(gateway.pipeline.run(ask(f"r{at}"), Heard())) for at in range(count)]


async def test_one_that_would_wait_for_too_long_is_refused_at_once(slow: FakeEngine) -> None:
    async with running_gateway([slow], settings(max_wait=60.0)) as gateway:
        tasks = flood(gateway, 300)
        await eventually(lambda: len(slow.submits) > 20)
        with pytest.raises(Overloaded, match="would wait about") as refused:
            await gateway.pipeline.run(ask("late", timeout=1.0), Heard())
        assert 1.0 <= refused.value.retry_after <= 300 * 30 * SECONDS
        assert len(gateway.quota.settled) >= 1, "what it had reserved is given back"
        await gateway.pipeline.run(replace(ask("urgent"), band=Band.PRIORITY), Heard())
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await gateway.settles()


async def test_one_that_has_waited_for_too_long_is_told_to_come_back(slow: FakeEngine) -> None:
    slow.granting = False
    async with running_gateway([slow], settings(max_wait=0.1)) as gateway:
        with pytest.raises(Overloaded, match="has waited"):
            await gateway.pipeline.run(ask(), Heard())
        await gateway.settles()


async def test_what_runs_by_then_is_left_alone(slow: FakeEngine) -> None:
    slow.replier = lambda submit: Reply([END], pause=1.3)
    async with running_gateway([slow], settings(max_wait=1.0)) as gateway:
        await gateway.pipeline.run(ask(), Heard())


async def test_a_deadline_ends_the_waiting_too(slow: FakeEngine) -> None:
    slow.granting = False
    async with running_gateway([slow], settings(max_wait=60.0)) as gateway:
        with pytest.raises(DeadlineExceeded):
            await gateway.pipeline.run(ask(timeout=0.1), Heard())
        await gateway.settles()


async def test_lower_bands_come_to_their_turn_under_a_flood(slow: FakeEngine) -> None:
    slow.replier = lambda submit: Reply([END])
    slow.granting = False
    async with running_gateway([slow], settings(max_wait=3600.0)) as gateway:
        asks = [replace(ask(f"{band.name}{at}"), band=band) for band in Band for at in range(40)]
        tasks = [asyncio.create_task(gateway.pipeline.run(each, Heard())) for each in asks]
        await eventually(lambda: gateway.dispatcher.waiting == len(asks))
        slow.granting = True
        await asyncio.gather(*tasks)
        first = [submit.request_id for submit in slow.submits[:40]]
        assert sum(name.startswith("DEFAULT") for name in first) == 2
        assert sum(name.startswith("FLEX") for name in first) == 2
        assert [submit.aged for submit in slow.submits[:18]] == [False] * 16 + [True] * 2
