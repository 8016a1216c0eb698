"""Engines that break, hang or refuse; queues that are full; clients that are slow."""

import asyncio

import pytest

from chorus_gateway.errors import DeadlineExceeded, Overloaded, Unavailable
from chorus_gateway.pipeline import PipelineLimits
from chorus_gateway.routing.dispatcher import DispatchLimits
from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.gateway.support.answers import Heard, ask
from tests.gateway.support.fake_engine import FakeEngine, Reply
from tests.gateway.support.gateway import Gateway, GatewaySettings, eventually, running_gateway
from tests.gateway.support.tokenizers import END, ids

TEXT = ids("the quick brown fox jumps over the lazy dog")


def busy(engines: list[FakeEngine]) -> FakeEngine:
    return next(engine for engine in engines if engine.running)


async def start(gateway: Gateway, heard: Heard, name: str = "r") -> asyncio.Task[None]:
    task = asyncio.create_task(gateway.pipeline.run(ask(name), heard))
    await eventually(lambda: gateway.dispatcher.running == 1)
    return task


async def test_an_engine_lost_before_the_first_token_is_replaced(engines: list[FakeEngine]) -> None:
    async with running_gateway(engines) as gateway:
        replies = {engine.description.engine_id: engine.replier for engine in engines}
        for engine in engines:
            engine.replier = lambda submit: Reply([], hang=True)
        heard = Heard()
        task = await start(gateway, heard)
        await eventually(lambda: any(engine.running for engine in engines))
        lost = busy(engines)
        other = next(engine for engine in engines if engine is not lost)
        other.replier = replies[other.description.engine_id]
        await lost.stop()
        await task
        assert heard.text == other.description.engine_id
        assert [submit.attempt for submit in other.submits] == [1]
        await gateway.settles()


async def test_an_engine_lost_after_the_first_token_is_an_error(engines: list[FakeEngine]) -> None:
    async with running_gateway(engines) as gateway:
        for engine in engines:
            engine.replier = lambda submit: Reply(TEXT[:3], hang=True)
        heard = Heard()
        task = await start(gateway, heard)
        await eventually(lambda: len(heard.pieces) == 3)
        await busy(engines).stop()
        with pytest.raises(Unavailable, match="connection to the engine was lost"):
            await task
        assert heard.usage is None
        assert sum(len(engine.submits) for engine in engines) == 1
        await gateway.settles()
        assert gateway.quota.settled == [len(ids("hello")) + 3]  # what the client got


async def test_the_same_engine_after_it_came_back(engines: list[FakeEngine]) -> None:
    engine = engines[0]
    async with running_gateway([engine]) as gateway:
        reply = engine.replier
        engine.replier = lambda submit: Reply([], hang=True)
        heard = Heard()
        task = await start(gateway, heard)
        await eventually(lambda: engine.running == 1)
        await engine.stop()
        await eventually(lambda: gateway.dispatcher.waiting == 1)
        engine.replier = reply
        await engine.start()
        await task
        assert heard.text == "first"
        await gateway.settles()


async def test_attempts_are_limited(engines: list[FakeEngine]) -> None:
    async with running_gateway(engines) as gateway:
        away = pb.Error(code=pb.ERROR_CODE_ADAPTER_UNAVAILABLE, message="the store is away: try again")
        for engine in engines:
            engine.replier = lambda submit: Reply([], error=away)
        with pytest.raises(Unavailable, match="the store is away"):
            await gateway.pipeline.run(ask(), Heard())
        assert sorted(submit.attempt for engine in engines for submit in engine.submits) == [0, 1, 2]
        await gateway.settles()
        assert gateway.quota.settled == [0]


async def test_no_engine_for_too_long(engines: list[FakeEngine]) -> None:
    engine = engines[0]
    settings = GatewaySettings(dispatch=DispatchLimits(engine_patience=0.2))
    async with running_gateway([engine], settings) as gateway:
        await gateway.pipeline.run(ask("warm"), Heard())  # its tokenizer is known from then on
        await engine.stop()
        await eventually(lambda: not gateway.pool.ready())
        for name in ("waits", "is refused at once"):
            with pytest.raises(Unavailable, match="No engine that serves 'chorus-demo'"):
                await gateway.pipeline.run(ask(name), Heard())
        await gateway.settles()


async def test_before_any_engine_was_reached_models_are_not_said_to_be_missing(engines: list[FakeEngine]) -> None:
    await engines[0].stop()
    async with running_gateway(engines[:1], GatewaySettings(connected=False)) as gateway:
        with pytest.raises(Unavailable, match="No engine has been reached yet"):
            await gateway.pipeline.run(ask(), Heard())


async def test_the_deadline_of_a_running_request(engines: list[FakeEngine]) -> None:
    settings = GatewaySettings(limits=PipelineLimits(request_timeout=2.0))
    async with running_gateway(engines, settings) as gateway:
        for engine in engines:
            engine.replier = lambda submit: Reply(TEXT[:2], hang=True)
        heard = Heard()
        with pytest.raises(DeadlineExceeded):
            await gateway.pipeline.run(ask(), heard)
        assert len(heard.pieces) == 2
        await gateway.settles()


async def test_the_deadline_of_a_request_at_an_engine_that_hangs(engines: list[FakeEngine]) -> None:
    settings = GatewaySettings(limits=PipelineLimits(request_timeout=0.2), dispatch=DispatchLimits(grace=0.1))
    async with running_gateway(engines, settings) as gateway:
        for engine in engines:
            engine.keep_deadlines = False
            engine.replier = lambda submit: Reply([], hang=True)
        with pytest.raises(DeadlineExceeded, match="did not answer"):
            await gateway.pipeline.run(ask(), Heard())
        await gateway.settles()
        await eventually(lambda: not any(engine.running for engine in engines))


async def test_the_deadline_of_a_queued_request(engines: list[FakeEngine]) -> None:
    settings = GatewaySettings(limits=PipelineLimits(request_timeout=0.2))
    async with running_gateway(engines, settings) as gateway:
        for engine in engines:
            engine.granting = False
        with pytest.raises(DeadlineExceeded, match="before an engine was free"):
            await gateway.pipeline.run(ask(), Heard())
        await gateway.settles()


async def test_a_full_queue(engines: list[FakeEngine]) -> None:
    async with running_gateway(engines, GatewaySettings(max_jobs=2)) as gateway:
        for engine in engines:
            engine.granting = False
        waiting = [asyncio.create_task(gateway.pipeline.run(ask(f"r{at}"), Heard())) for at in range(2)]
        await eventually(lambda: gateway.dispatcher.waiting == 2)
        with pytest.raises(Overloaded, match="2 requests wait already") as caught:
            await gateway.pipeline.run(ask("one too many"), Heard())
        assert caught.value.retry_after > 0
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await gateway.settles()


async def test_a_slow_client(engines: list[FakeEngine]) -> None:
    settings = GatewaySettings(limits=PipelineLimits(stream_buffer_tokens=8))
    async with running_gateway(engines, settings) as gateway:
        for engine in engines:
            engine.replier = lambda submit: Reply(TEXT * 5, hang=True)
        heard = Heard(pause=0.05)
        with pytest.raises(Unavailable, match="read too slowly"):
            await gateway.pipeline.run(ask(), heard)
        await gateway.settles()
        await eventually(lambda: not any(engine.running for engine in engines))


async def test_draining_lets_requests_end_and_refuses_new_ones(engines: list[FakeEngine]) -> None:
    async with running_gateway(engines) as gateway:
        for engine in engines:
            engine.replier = lambda submit: Reply([*ids("slow"), END], pause=0.1)
        heard = Heard()
        task = await start(gateway, heard)
        drain = asyncio.create_task(gateway.dispatcher.drain(5, Unavailable("shutting down")))
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="shutting down"):
            await gateway.pipeline.run(ask("late"), Heard())
        await asyncio.gather(task, drain)
        assert heard.text == "slow"


async def test_draining_ends_what_takes_too_long(engines: list[FakeEngine]) -> None:
    async with running_gateway(engines) as gateway:
        for engine in engines:
            engine.replier = lambda submit: Reply([], hang=True)
        task = await start(gateway, Heard())
        await gateway.dispatcher.drain(0.1, Unavailable("shutting down"))
        with pytest.raises(Unavailable, match="shutting down"):
            await task
        await gateway.settles()
