"""Which engines are known, over real gRPC and a registry that the test holds."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from chorus_gateway.engine_client.client import EngineClient, Events
from chorus_gateway.engine_client.residency import Tier
from chorus_gateway.errors import Unavailable
from chorus_gateway.routing.member import Member
from chorus_gateway.routing.pool import EnginePool
from chorus_gateway.routing.registry import Announcement
from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.gateway.support.fake_engine import TOKEN, FakeEngine, Reply
from tests.gateway.support.gateway import eventually
from tests.gateway.support.tokenizers import bundle


class HeldRegistry:
    def __init__(self) -> None:
        self.announced: list[Announcement] = []
        self.away = False
        self.reads = 0

    async def read(self) -> list[Announcement]:
        self.reads += 1
        if self.away:
            raise RedisConnectionError("away")
        return self.announced

    def announce(self, *engines: FakeEngine) -> None:
        self.announced = [Announcement(engine.description.engine_id, engine.address) for engine in engines]


@contextlib.asynccontextmanager
async def running(registry: HeldRegistry, addresses: Sequence[str] = ()) -> AsyncIterator[EnginePool]:
    def connect(address: str, events: Events) -> EngineClient:
        return EngineClient(address, service_token=TOKEN, worker_id="w", created=7, events=events)

    pool = EnginePool(registry, connect, addresses=addresses, poll_interval=0.01)
    task = asyncio.create_task(pool.run())
    try:
        yield pool
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert pool.states() == ()


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    engine = await FakeEngine(bundle(), replier=lambda submit: Reply([])).start()
    yield engine
    await engine.stop()


@pytest.fixture
async def smaller() -> AsyncIterator[FakeEngine]:
    engine = await FakeEngine(bundle(), replier=lambda submit: Reply([]), engine_id="two", max_model_len=100).start()
    yield engine
    await engine.stop()


async def more_reads(registry: HeldRegistry, count: int = 3) -> None:
    wanted = registry.reads + count
    await eventually(lambda: registry.reads >= wanted)


async def test_an_announced_engine_is_connected_to(engine: FakeEngine) -> None:
    registry = HeldRegistry()
    async with running(registry) as pool:
        await more_reads(registry)
        assert not pool.ready()
        registry.announce(engine)
        await eventually(pool.ready)
        base = pool.get("chorus-demo")
        assert base is not None
        assert pool.all() == (base,)
        assert pool.get("other") is None
        assert [(state.address, state.model, state.connected) for state in pool.states()] == [
            (engine.address, "chorus-demo", True)
        ]


async def test_a_fixed_address_needs_no_registry(engine: FakeEngine) -> None:
    registry = HeldRegistry()
    registry.away = True
    async with running(registry, [engine.address]) as pool:
        await eventually(pool.ready)


async def test_a_registry_that_is_away_changes_nothing(engine: FakeEngine) -> None:
    registry = HeldRegistry()
    registry.announce(engine)
    async with running(registry) as pool:
        await eventually(pool.ready)
        registry.away = True
        await more_reads(registry)
        assert pool.ready()
        await engine.stop()
        await eventually(lambda: not pool.ready())
        await more_reads(registry)
        assert len(pool.states()) == 1, "nobody said that it is gone"
        await engine.start()
        await eventually(pool.ready)


async def test_an_engine_is_dropped_when_session_and_registry_have_lost_it(engine: FakeEngine) -> None:
    registry = HeldRegistry()
    registry.announce(engine)
    async with running(registry) as pool:
        await eventually(pool.ready)
        registry.announce()
        await more_reads(registry)
        assert pool.ready(), "its session is still there"
        await engine.stop()
        await eventually(lambda: pool.states() == ())
        assert pool.get("chorus-demo") is not None, "its model did not cease to exist"
        assert pool.absent_for("b" * 64) > 0


async def test_the_context_is_what_all_engines_can_do(engine: FakeEngine, smaller: FakeEngine) -> None:
    async with running(HeldRegistry(), [engine.address, smaller.address]) as pool:
        await eventually(lambda: len(pool.members("b" * 64)) == 2)
        base = pool.get("chorus-demo")
        assert base is not None
        assert base.max_model_len == 100


async def test_tokenizers_come_from_who_has_them(engine: FakeEngine) -> None:
    async with running(HeldRegistry(), [engine.address]) as pool:
        await eventually(pool.ready)
        assert await pool.fetch_tokenizer(engine.description.tokenizer_digest) == bundle()
        with pytest.raises(Unavailable, match="No engine is connected that has this model's tokenizer"):
            await pool.fetch_tokenizer("0" * 64)


class Heard:
    def __init__(self) -> None:
        self.turned_to: list[bool] = []

    def news(self, member: Member) -> None: ...

    def turned(self, member: Member) -> None:
        self.turned_to.append(member.takes)


@pytest.mark.parametrize("stalled", [False, True])
async def test_an_engine_that_redis_says_drains_or_hangs_takes_nothing(engine: FakeEngine, stalled: bool) -> None:
    registry, heard = HeldRegistry(), Heard()
    registry.announce(engine)
    async with running(registry) as pool:
        pool.listen(heard)
        await eventually(pool.ready)
        [member] = pool.members("b" * 64)
        assert pool.members("c" * 64) == []
        registry.announced = [replace(registry.announced[0], draining=not stalled, stalled=stalled)]
        await more_reads(registry)
        assert (member.takes, member.stalled) == (False, stalled)
        registry.announce(engine)
        await more_reads(registry)
        assert heard.turned_to == [True, False, True]


async def test_an_engine_that_drains_and_hangs_as_well(engine: FakeEngine) -> None:
    registry, heard = HeldRegistry(), Heard()
    registry.announce(engine)
    registry.announced = [replace(registry.announced[0], draining=True)]
    async with running(registry) as pool:
        pool.listen(heard)
        await eventually(pool.ready)
        assert heard.turned_to == []
        engine.stall()
        await eventually(lambda: heard.turned_to == [False])
        assert pool.members("b" * 64)[0].stalled


async def test_an_engine_that_is_not_connected_tells_nothing(engine: FakeEngine) -> None:
    registry, heard = HeldRegistry(), Heard()
    await engine.stop()
    registry.announced = [Announcement("one", engine.address, stalled=True)]
    async with running(registry) as pool:
        pool.listen(heard)
        await more_reads(registry)
        assert heard.turned_to == []
        assert len(pool.states()) == 1


async def test_an_engine_that_says_that_it_hangs_takes_nothing(engine: FakeEngine) -> None:
    heard = Heard()
    async with running(HeldRegistry(), [engine.address]) as pool:
        pool.listen(heard)
        await eventually(pool.ready)
        engine.stall()
        await eventually(lambda: heard.turned_to == [True, False])
        engine.stall(False)
        await eventually(lambda: heard.turned_to == [True, False, True])
        await engine.stop()
        await eventually(lambda: heard.turned_to == [True, False, True, False])


async def test_residency_is_pushed(engine: FakeEngine) -> None:
    engine.adapters.put("d1", pb.TIER_HOST)
    async with running(HeldRegistry(), [engine.address]) as pool:
        await eventually(pool.ready)
        [member] = pool.members("b" * 64)
        await eventually(lambda: member.tier("d1") is Tier.HOST)
        engine.adapters.put("d2", pb.TIER_GPU)
        engine.adapters.drop("d1")
        await eventually(lambda: member.tier("d2") is Tier.GPU and member.tier("d1") is Tier.ABSENT)


async def test_an_engine_in_whose_place_another_one_is_never_comes_back(engine: FakeEngine) -> None:
    async with running(HeldRegistry(), [engine.address]) as pool:
        await eventually(lambda: list(pool.clients()) == ["engine-1"])
        assert not pool.is_gone("engine-1")
        await engine.stop()
        await eventually(lambda: not pool.clients())
        assert not pool.is_gone("engine-1")  # who knows
        engine.description.engine_id = "engine-2"
        await engine.start()
        await eventually(lambda: list(pool.clients()) == ["engine-2"])
        assert pool.is_gone("engine-1")
        assert not pool.is_gone("engine-2")
        assert not pool.is_gone("never met")
