"""Where requests of adapters go, over real gRPC."""

import asyncio
import time

import pytest

from chorus_gateway.errors import DeadlineExceeded, Unavailable
from chorus_gateway.pipeline import PipelineLimits
from chorus_gateway.routing.dispatcher import DispatchLimits
from chorus_gateway.routing.turns import Patience
from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.gateway.support.answers import Heard, ask
from tests.gateway.support.claims import HeldClaims
from tests.gateway.support.fake_engine import FakeEngine, Reply
from tests.gateway.support.gateway import ADAPTERS, Gateway, GatewaySettings, eventually, running_gateway
from tests.gateway.support.tokenizers import END, ids

MODEL = "chorus-demo@shout"
ADAPTER = ADAPTERS[MODEL]
TEXT = ids("the quick brown fox jumps over the lazy dog")


async def answer(gateway: Gateway, name: str = "r", model: str = MODEL) -> str:
    heard = Heard()
    await gateway.pipeline.run(ask(name, model=model), heard)
    return heard.text


async def start(gateway: Gateway, heard: Heard, name: str = "r") -> asyncio.Task[None]:
    task = asyncio.create_task(gateway.pipeline.run(ask(name, model=MODEL), heard))
    await eventually(lambda: gateway.dispatcher.running == 1)
    return task


def sample(gateway: Gateway, metric: str, **labels: str) -> float:
    return gateway.metrics.registry.get_sample_value(metric, labels) or 0.0


def fetches(engines: list[FakeEngine]) -> int:
    return sum(engine.adapters.fetches.total() for engine in engines)


async def test_requests_of_a_key_go_to_one_engine_while_it_is_not_busy(engines: list[FakeEngine]) -> None:
    async with running_gateway(engines) as gateway:

        async def keyed(name: str) -> str:
            heard = Heard()
            await gateway.pipeline.run(ask(name, cache_key="conversation"), heard)
            return heard.text

        assert len({await keyed(f"r{at}") for at in range(6)}) == 1
        for engine in engines:
            engine.replier = lambda submit: Reply([*TEXT, END], pause=0.02)
        await asyncio.gather(*(keyed(f"together{at}") for at in range(12)))
        assert all(len(engine.submits) >= 3 for engine in engines), "a key is no reason to wait"
        await gateway.settles()


async def test_a_request_goes_where_its_adapter_is_and_asks_nobody(engines: list[FakeEngine]) -> None:
    engines[1].adapters.put(ADAPTER, pb.TIER_GPU)
    claims = HeldClaims()
    async with running_gateway(engines, GatewaySettings(claims=claims)) as gateway:
        await eventually(lambda: gateway.pool.members("b" * 64)[1].tier(ADAPTER) > 0)
        for at in range(5):
            assert await answer(gateway, f"r{at}") == "second"
        assert sample(gateway, "adapter_requests_total", tier="gpu") == 5
        assert (claims.calls, fetches(engines)) == (0, 0)
        await gateway.settles()


async def test_requests_that_miss_together_have_it_loaded_once(engines: list[FakeEngine]) -> None:
    claims = HeldClaims()
    for engine in engines:
        engine.adapters.seconds = 0.05
    async with running_gateway(engines, GatewaySettings(claims=claims)) as gateway:
        texts = await asyncio.gather(*(answer(gateway, f"r{at}") for at in range(6)))
        assert len(set(texts)) == 1
        assert (fetches(engines), claims.calls) == (1, 1)
        assert sample(gateway, "adapter_claims_total", result="won") == 1
        tiers = [sample(gateway, "adapter_requests_total", tier=tier) for tier in ("absent", "fetching")]
        assert sum(tiers) == 6
        assert tiers[0] >= 1
        await gateway.settles()


async def test_without_redis_one_gateway_has_it_loaded_once_all_the_same(engines: list[FakeEngine]) -> None:
    async with running_gateway(engines, GatewaySettings(claims=HeldClaims(away=True))) as gateway:
        await asyncio.gather(*(answer(gateway, f"r{at}") for at in range(6)))
        assert fetches(engines) == 1
        assert sample(gateway, "adapter_claims_total", result="unavailable") == 1
        await gateway.settles()


async def test_engines_of_old_hold_nothing(engines: list[FakeEngine]) -> None:
    for engine in engines:
        engine.adapters.silent = True
    async with running_gateway(engines) as gateway:
        texts = {await answer(gateway, f"r{at}") for at in range(4)}
        assert len(texts) == 1, "the claim is remembered, which is all there is to go by"
        await gateway.settles()


async def test_patience_with_an_engine_that_does_not_take_it(engines: list[FakeEngine]) -> None:
    engines[1].adapters.put(ADAPTER, pb.TIER_GPU)
    engines[1].granting = False
    async with running_gateway(engines, GatewaySettings(patience=Patience(first=0.2))) as gateway:
        await eventually(lambda: gateway.pool.members("b" * 64)[1].tier(ADAPTER) > 0)
        started = time.monotonic()
        waiting = asyncio.create_task(answer(gateway))
        assert await answer(gateway, "base", "chorus-demo") == "first", "others do not wait for it"
        assert not waiting.done()
        assert await waiting == "first"
        assert time.monotonic() - started >= 0.2
        assert sample(gateway, "adapter_requests_total", tier="absent") == 1
        await gateway.settles()


async def test_a_hot_adapter_spreads(engines: list[FakeEngine]) -> None:
    engines[0].adapters.put(ADAPTER, pb.TIER_GPU)
    for engine in engines:
        engine.replier = lambda submit: Reply([*TEXT, END], pause=0.05)
    async with running_gateway(engines) as gateway:
        await eventually(lambda: gateway.pool.members("b" * 64)[0].tier(ADAPTER) > 0)
        tasks = [asyncio.create_task(answer(gateway, f"r{at}")) for at in range(12)]
        await asyncio.gather(*tasks)
        assert all(len(engine.submits) >= 3 for engine in engines)
        assert engines[1].adapters.fetches[ADAPTER] == 1
        await gateway.settles()


async def test_an_engine_that_closes_during_a_load(engines: list[FakeEngine]) -> None:
    for engine in engines:
        engine.adapters.seconds = 30
    async with running_gateway(engines) as gateway:
        heard = Heard()
        task = await start(gateway, heard)
        await eventually(lambda: fetches(engines) == 1)
        loading = next(engine for engine in engines if engine.running)
        other = next(engine for engine in engines if engine is not loading)
        other.adapters.seconds = 0
        await loading.stop()
        await task
        assert heard.text == other.description.engine_id
        assert [submit.attempt for submit in other.submits] == [1]
        await gateway.settles()


async def test_an_engine_that_hangs_before_the_first_token(engines: list[FakeEngine]) -> None:
    async with running_gateway(engines) as gateway:
        for engine in engines:
            engine.replier = lambda submit: Reply([], hang=True)
        heard = Heard()
        task = await start(gateway, heard)
        await eventually(lambda: any(engine.running for engine in engines))
        hanging = next(engine for engine in engines if engine.running)
        other = next(engine for engine in engines if engine is not hanging)
        other.replier = lambda submit: Reply([*ids("saved"), END])
        hanging.stall()
        await asyncio.wait_for(task, 60)
        assert heard.text == "saved"
        assert [(submit.attempt, submit.request_id) for submit in other.submits] == [(1, "r-0")]
        await eventually(lambda: [name for name, _ in hanging.cancels] == ["r-0"])
        for at in range(4):
            await answer(gateway, f"later{at}", "chorus-demo")
        assert len(hanging.submits) == 1, "it gets nothing while it hangs"
        hanging.stall(False)
        hanging.replier = other.replier
        await asyncio.gather(*(answer(gateway, f"back{at}", "chorus-demo") for at in range(12)))
        assert len(hanging.submits) > 1
        await gateway.settles()


async def test_what_has_begun_at_an_engine_that_hangs_waits_for_it(engines: list[FakeEngine]) -> None:
    async with running_gateway(engines) as gateway:
        for engine in engines:
            engine.replier = lambda submit: Reply([*TEXT, END], pause=0.05)
        heard = Heard()
        task = await start(gateway, heard)
        await eventually(lambda: bool(heard.pieces))
        hanging = next(engine for engine in engines if engine.running)
        hanging.stall()
        await task
        assert heard.text == "the quick brown fox jumps over the lazy dog"
        assert sum(len(engine.submits) for engine in engines) == 1
        await gateway.settles()


async def test_where_there_is_no_other_engine_a_request_stays_until_there_is_one(engines: list[FakeEngine]) -> None:
    first, second = engines
    await second.stop()
    settings = GatewaySettings(connected=False)
    async with running_gateway(engines, settings) as gateway:
        await eventually(gateway.pool.ready)
        first.replier = lambda submit: Reply([], hang=True)
        task = await start(gateway, heard := Heard())
        first.stall()
        await asyncio.sleep(0.1)
        assert gateway.dispatcher.running == 1
        await second.start()
        await task
        assert heard.text == "second"
        await gateway.settles()


async def test_all_engines_hang(engines: list[FakeEngine]) -> None:
    settings = GatewaySettings(
        limits=PipelineLimits(request_timeout=2.0), dispatch=DispatchLimits(grace=0.1, retry_delay=0.01)
    )
    async with running_gateway(engines, settings) as gateway:
        await answer(gateway, "warm", "chorus-demo")
        for engine in engines:
            engine.stall()
        await eventually(lambda: not any(member.takes for member in gateway.pool.members("b" * 64)))
        with pytest.raises((DeadlineExceeded, Unavailable)):
            await answer(gateway)
        assert gateway.dispatcher.running == gateway.dispatcher.waiting == 0


async def test_demand_is_counted_from_arrival_to_end(engines: list[FakeEngine]) -> None:
    for engine in engines:
        engine.replier = lambda submit: Reply([*ids("slow"), END], pause=0.1)
    async with running_gateway(engines) as gateway:
        await asyncio.gather(answer(gateway), answer(gateway, "base", "chorus-demo"))
        [entry] = {entry.subject: entry for entry in gateway.demand.take()}.values()
        assert entry.subject == ("b" * 64, ADAPTER)
        assert entry.count.busy >= 100
        await gateway.settles()
