"""Stores that place adapters, as processes: who leads, and what is left when one of them or Redis goes away."""

import asyncio
import os
import signal
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import grpc
import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from chorus_adapter_store.placement import keys
from chorus_adapter_store.placement.fleet import Command, Verb
from chorus_adapter_store.values import Tier
from chorus_proto.adapters.v1 import adapters_pb2 as pb
from chorus_proto.adapters.v1 import adapters_pb2_grpc
from tests.adapter_store.placement.announced import AnnouncedEngine, ask
from tests.adapter_store.placement.fleet_model import ModelEngine
from tests.adapter_store.process import StoreProcess, running
from tests.adapter_store.service.conftest import RedisServer
from tests.adapter_store.service.test_redis import METADATA, publish
from tests.adapter_store.support import BASE, make_upload


@asynccontextmanager
async def engine_at(redis_url: str, model: ModelEngine) -> AsyncIterator[AnnouncedEngine]:
    """Obeys until the end, whatever becomes of Redis."""
    async with Redis.from_url(redis_url, decode_responses=True, protocol=2) as redis:
        engine = AnnouncedEngine(redis, model, BASE.digest)

        async def obey() -> None:
            while True:
                with suppress(OSError, RedisError):
                    await engine.obey(size=1000)
                await asyncio.sleep(0.05)

        model.pool = model.host_bytes = 1_000_000
        task = asyncio.create_task(obey())
        yield engine
        task.cancel()


async def soon(check: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not check():
        assert time.monotonic() - began < 60, "it did not happen in time"
        await asyncio.sleep(0.02)


def metric(store: StoreProcess, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{store.metrics_port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))


def leads(store: StoreProcess) -> bool:
    return metric(store, "placer_leading") == 1


@pytest.fixture
def store(redis_process: RedisServer, tmp_path: Path) -> Iterator[StoreProcess]:
    with running(tmp_path, BASE, CHORUS_REDIS_URL=redis_process.url) as started:
        yield started


async def test_what_is_published_is_warm_soon(redis_process: RedisServer, store: StoreProcess) -> None:
    first = await asyncio.to_thread(publish, store.address, make_upload(seed=1))
    await soon(lambda: leads(store))
    model = ModelEngine("a", gpu={first.adapter.digest: 1000})
    async with engine_at(redis_process.url, model) as engine:
        await asyncio.sleep(0.2)
        second = await asyncio.to_thread(publish, store.address, make_upload(seed=2))
        wanted = Command("a", Verb.PREFETCH, second.adapter.digest, Tier.GPU)
        await soon(lambda: wanted in engine.obeyed)


async def test_redis_that_forgets_or_goes_away_is_whole_again_with_one_line(
    redis_process: RedisServer, store: StoreProcess
) -> None:
    digest = (await asyncio.to_thread(publish, store.address, make_upload())).adapter.digest
    await asyncio.to_thread(pin, store)
    async with engine_at(redis_process.url, ModelEngine("a")) as engine:
        await soon(lambda: engine.engine.pinned == {digest: Tier.GPU})
        term = engine.term
        redis = redis_process.client()
        redis.flushall()
        await soon(lambda: redis.hlen(keys.pins(BASE.digest)) == 1 and redis.exists(keys.LOCK) == 1)
        engine.engine.pinned.clear()
        await soon(lambda: engine.engine.pinned == {digest: Tier.GPU})
        assert engine.term > term
        redis_process.stop()
        await soon(lambda: not leads(store))
        redis_process.start()
        await soon(lambda: leads(store))
    said = [message for message in store.messages() if "Redis (placement)" in message]
    assert [message.partition(":")[0] for message in said] == ["Redis (placement) is away", "Redis (placement) is back"]
    assert not any("Traceback" in message for message in store.messages())


@pytest.fixture
def stores(redis_process: RedisServer, tmp_path: Path) -> Iterator[list[StoreProcess]]:
    """Three of one catalog, the last of which may not place."""
    shared = {
        "CHORUS_REDIS_URL": redis_process.url,
        "CHORUS_STORE_DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/store.db",
    }
    more: list[dict[str, str]] = [{}, {}, {"CHORUS_PLACEMENT": "off"}]
    with ExitStack() as stack:
        started = enumerate({**shared, **each} for each in more)
        yield [stack.enter_context(running(tmp_path / str(n), BASE, **each)) for n, each in started]


async def test_one_store_places_and_another_when_it_is_killed(
    redis_process: RedisServer, stores: list[StoreProcess]
) -> None:
    await soon(lambda: [leads(store) for store in stores].count(True) == 1)
    leader, other, off = sorted(stores, key=lambda store: (-metric(store, "placer_leading"), store is stores[2]))
    digest = (await asyncio.to_thread(publish, other.address, make_upload())).adapter.digest
    async with engine_at(redis_process.url, ModelEngine("a")) as engine:
        await ask(engine.redis, BASE.digest, digest, in_flight=1)
        await soon(lambda: digest in engine.engine.report().held)
        term = engine.term
        assert term == metric(leader, "placer_term")
        os.kill(leader.process.pid, signal.SIGKILL)
        await soon(lambda: leads(other))
        engine.engine.gpu, engine.engine.host = {}, {}
        await ask(engine.redis, BASE.digest, digest, in_flight=1)
        await soon(lambda: digest in engine.engine.report().held)
        assert engine.terms == sorted(engine.terms)
        assert engine.term > term
        assert not leads(off)


def pin(store: StoreProcess) -> None:
    with grpc.insecure_channel(store.address) as channel:
        stub = adapters_pb2_grpc.AdapterStoreStub(channel)
        stub.SetPin(pb.SetPinRequest(tenant="acme", name="tone"), metadata=METADATA)
