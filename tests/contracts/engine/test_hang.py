"""An engine whose steps hang while everything else of it goes on."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.engine.support.checkpoint import make_served_checkpoint
from tests.contracts.engine.support.gateway import open_gateway, sampling, submit
from tests.contracts.engine.support.process import EngineProcess
from tests.gateway.support.redis_server import RedisServer, redis_client


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


class Hang:
    """Steps hang while its file exists."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "hang"

    def begin(self) -> None:
        self.file.touch()

    def end(self) -> None:
        self.file.unlink()


@pytest.fixture
def hang(tmp_path: Path) -> Hang:
    return Hang(tmp_path)


@pytest.fixture
def engine(tmp_path: Path, server: RedisServer, hang: Hang) -> Iterator[EngineProcess]:
    model = tmp_path / "model"
    make_served_checkpoint(model)
    environment = {"HANG_FILE": str(hang.file), "CHORUS_STALL_SECONDS": "0.5", "CHORUS_HANG_SECONDS": "30"}
    environment["CHORUS_HOST_ADAPTER_MEMORY"] = "0.05"
    engine = EngineProcess(model, tmp_path, redis_url=server.url, environment=environment)
    engine.module = "tests.support.hanging_engine"
    yield engine
    engine.stop()


async def stalled_in_redis(server: RedisServer, expected: str, seconds: float = 60.0) -> None:
    async with redis_client(server.url) as redis, asyncio.timeout(seconds):
        while True:
            (engine_id,) = await redis.zrange("chorus:engines", 0, -1)
            if await redis.hget(f"chorus:engine:{{{engine_id!s}}}", "stalled") == expected:
                return
            await asyncio.sleep(0.02)


def messages(engine: EngineProcess) -> list[str]:
    return [str(line["message"]) for line in engine.lines]


async def test_an_engine_that_hangs_says_so_and_goes_on_when_it_can(
    engine: EngineProcess, server: RedisServer, hang: Hang
) -> None:
    engine.start()
    async with open_gateway(engine.address) as gateway:
        await gateway.ask(submit("warm"))
        hang.begin()
        await gateway.submit(submit("a"))
        await gateway.wait_for(lambda: gateway.load is not None and gateway.load.stalled)
        await stalled_in_redis(server, "1")
        credits = gateway.credits
        await gateway.ask_for_credits(3)
        await asyncio.sleep(0.5)
        assert gateway.credits == credits, "no credit while it is stalled"
        hang.end()
        await gateway.answer("a")
        await gateway.wait_for(lambda: gateway.load is not None and not gateway.load.stalled)
        await gateway.wait_for(lambda: gateway.credits > credits)
        await stalled_in_redis(server, "0")
    assert messages(engine).count("no step ends") == messages(engine).count("steps end again") == 1


async def test_an_engine_that_never_goes_on_ends_with_status_1(
    engine: EngineProcess, server: RedisServer, hang: Hang
) -> None:
    engine.environment["CHORUS_HANG_SECONDS"] = "2"
    engine.start()
    async with open_gateway(engine.address) as gateway:
        await gateway.ask(submit("warm"))
        hang.begin()
        answer = await gateway.ask(submit("a", sampling=sampling(3)))
        assert answer.end.error.message.startswith("the engine"), "worth another attempt elsewhere"
        assert answer.token_ids == []
    assert await asyncio.to_thread(engine.process.wait, 60) == 1
    assert messages(engine).count("the engine hangs and ends") == 1
    async with redis_client(server.url) as redis:
        assert await redis.zcard("chorus:engines") == 0
