"""The placer's commands in a real Redis: each is carried out once, and answered."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from chorus_engine.core.commands import Command, Outcome, Status, Verb
from chorus_engine.core.load import Tier
from chorus_engine.presence.commands import BLOCK, Commands
from chorus_engine.presence.outage import Outage
from chorus_engine.presence.records import Keys
from chorus_engine.presence.redis_url import connect
from tests.gateway.support.redis_server import RedisServer, redis_client

DIGEST = "ab" * 32
KEYS = Keys("e1")
SECONDS = 60.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


class Engine:
    """Commands that run, and what they were carried out as."""

    def __init__(self, url: str) -> None:
        self.executed: list[Command] = []
        self.ended: list[tuple[str, str]] = []
        self.lost = 0
        self.gate: asyncio.Event | None = None  # what holds commands up
        self.redis = connect(url, 1.0)
        self.commands = Commands(
            connect(url, BLOCK + 2.0),
            self.redis,
            KEYS,
            execute=self._execute,
            ended=lambda verb, status: self.ended.append((verb, status)),
            lost=self._lose,
            outage=Outage(),
            clock=time.monotonic,
        )
        self.task = asyncio.create_task(self.commands.run())

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.commands.close()
        await self.redis.aclose()

    async def _execute(self, command: Command) -> Outcome:
        self.executed.append(command)
        if self.gate is not None:
            await self.gate.wait()
        return Outcome(Status.DONE)

    def _lose(self) -> None:
        self.lost += 1


@pytest.fixture
async def engine(server: RedisServer) -> AsyncIterator[Engine]:
    engine = Engine(server.url)
    yield engine
    await engine.stop()


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[Redis]:
    async with redis_client(server.url) as client:
        yield client


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - what happens in Redis sets no event
            await asyncio.sleep(0.01)


async def send(redis: Redis, command: str = "prefetch", term: Any = 1, **fields: Any) -> str:
    entry: dict[Any, Any] = {"command": command, "digest": DIGEST, "tier": "gpu", "term": term, "expires_at": 0}
    entry.update(fields)
    return str(await redis.xadd(KEYS.commands, entry))


async def results(redis: Redis, count: int) -> list[dict[str, str]]:
    found: Any = []
    async with asyncio.timeout(SECONDS):
        while len(found) < count:
            await asyncio.sleep(0.01)
            found = await redis.xrange(KEYS.results)
    return [fields for _, fields in found]


async def test_a_command_is_carried_out_answered_and_gone(engine: Engine, redis: Redis) -> None:
    soon = round(time.time() * 1000) + 60_000
    entry = await send(redis, "pin", term=7, expires_at=soon)
    (result,) = await results(redis, 1)
    assert result == {
        "command_id": entry,
        "command": "pin",
        "digest": DIGEST,
        "tier": "gpu",
        "term": "7",
        "status": "done",
        "reason": "",
    }
    (command,) = engine.executed
    assert (command.verb, command.digest, command.tier) == (Verb.PIN, DIGEST, Tier.GPU)
    assert command.until is not None
    assert 0 < command.until - time.monotonic() <= 60
    assert engine.ended == [("pin", "done")]
    assert engine.commands.term == 7
    assert await redis.xlen(KEYS.commands) == 0
    assert (await redis.xpending(KEYS.commands, "engine"))["pending"] == 0
    assert 0 < await redis.pttl(KEYS.results) <= 60_000


async def test_a_command_is_acknowledged_when_it_has_ended_and_not_before(engine: Engine, redis: Redis) -> None:
    engine.gate = asyncio.Event()
    await send(redis)
    await until(lambda: bool(engine.executed))
    await send(redis, "drain")
    await until(lambda: len(engine.executed) == 2)
    assert (await redis.xpending(KEYS.commands, "engine"))["pending"] == 2
    assert await redis.exists(KEYS.results) == 0
    engine.gate.set()
    await results(redis, 2)
    assert await redis.xlen(KEYS.commands) == 0


async def test_a_lower_term_is_refused(engine: Engine, redis: Redis) -> None:
    await send(redis, term=5)
    await send(redis, "drain", term=4)
    await send(redis, term=5)
    first, second, third = await results(redis, 3)
    assert (second["status"], second["reason"]) == ("refused", "its term is 4 and term 5 has begun.")
    assert first["status"] == third["status"] == "done"
    assert [command.verb for command in engine.executed] == [Verb.PREFETCH, Verb.PREFETCH]


async def test_an_expired_command_is_refused(engine: Engine, redis: Redis) -> None:
    await send(redis, expires_at=round(time.time() * 1000) - 5000)
    (result,) = await results(redis, 1)
    assert result["status"] == "refused"
    assert "over 5." in result["reason"]
    assert engine.executed == []


@pytest.mark.parametrize(
    "fields", [{"command": "explode"}, {"term": "x"}, {"tier": "tape"}, {"expires_at": "soon"}, {"digest": ""}]
)
async def test_what_cannot_be_read_is_refused_and_disturbs_nothing(
    engine: Engine, redis: Redis, fields: dict[str, Any]
) -> None:
    await send(redis, **fields)
    await send(redis)
    wrong, good = await results(redis, 2)
    assert (wrong["status"], good["status"]) == ("refused", "done")
    assert "cannot be read" in wrong["reason"]
    assert engine.ended[0][0] in {"prefetch", "unknown"}


async def test_commands_that_came_before_the_engine_read_are_carried_out(server: RedisServer, redis: Redis) -> None:
    await send(redis)
    engine = Engine(server.url)
    await results(redis, 1)
    await engine.stop()


async def test_a_redis_that_forgot_everything_is_read_again(engine: Engine, redis: Redis) -> None:
    engine.gate = asyncio.Event()
    await send(redis)
    await until(lambda: bool(engine.executed))
    lost = engine.lost
    await redis.flushall()
    await send(redis, "drain")
    engine.gate.set()
    found = await results(redis, 2)
    assert {result["command"] for result in found} == {"prefetch", "drain"}
    assert engine.lost > lost, "the registry is told anew at once"


async def test_a_redis_that_restarts_loses_nothing_that_was_begun(
    engine: Engine, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    engine.gate = asyncio.Event()
    async with redis_client(server.url) as client:
        await send(client)
        await until(lambda: bool(engine.executed))
    server.stop()
    engine.gate.set()
    await until(lambda: "redis is away" in caplog.text)
    server.start()
    async with redis_client(server.url) as client:
        await results(client, 1)
        await send(client, "unpin")
        await results(client, 2)
    assert [command.verb for command in engine.executed] == [Verb.PREFETCH, Verb.UNPIN]
    await until(lambda: "redis is back" in caplog.text)
    events = [record.message for record in caplog.records if record.name.startswith("chorus_engine")]
    assert events == ["redis is away; requests go on", "redis is back"]
