"""The real adapter store in a process of its own, which has seen one base model."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc.aio

from chorus_gateway.adapters import AdapterClient, UploadHeader
from chorus_gateway.errors import Conflict, GatewayError, Unavailable
from chorus_proto.engine.v1 import engine_pb2
from tests.adapter_store.support import BASE
from tests.gateway.support.fake_engine import TOKEN, FakeEngine, Reply
from tests.gateway.support.redis_server import RedisServer, redis_client


@contextlib.contextmanager
def real_store(folder: Path, redis: RedisServer, settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """Its address."""
    port, metrics_port = _free_ports()
    environment = {
        **os.environ,
        "CHORUS_SERVICE_TOKEN": TOKEN,
        "CHORUS_STORE_PORT": str(port),
        "CHORUS_STORE_METRICS_PORT": str(metrics_port),
        "CHORUS_STORE_DATABASE_URL": f"sqlite+aiosqlite:///{folder}/store.db",
        "CHORUS_BLOB_DIR": str(folder / "blobs"),
        "CHORUS_REDIS_URL": redis.url,
        "CHORUS_LOG_LEVEL": "error",
        **(settings or {}),
    }
    process = subprocess.Popen([sys.executable, "-m", "chorus_adapter_store"], cwd=folder, env=environment)
    try:
        asyncio.run(_teach(f"127.0.0.1:{port}", redis.url))
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=60)


async def _teach(address: str, redis_url: str) -> None:
    """Announces an engine that serves BASE until the store knows it."""
    engine = await FakeEngine(replier=lambda _submit: Reply(()), model=BASE.name, model_digest=BASE.digest).start()
    spec = engine.description.model
    spec.architecture, spec.dtype = BASE.architecture, BASE.dtype
    spec.num_layers, spec.hidden_size, spec.vocab_size = BASE.num_layers, BASE.hidden_size, BASE.vocab_size
    spec.modules.extend(
        engine_pb2.LinearModule(path=module.path, in_features=module.in_features, out_features=module.out_features)
        for module in BASE.modules
    )
    try:
        async with redis_client(redis_url) as redis, grpc.aio.insecure_channel(address) as channel:
            fields: dict[Any, Any] = {"address": engine.address, "model": BASE.name, "model_digest": BASE.digest}
            await redis.hset("chorus:engine:{teacher}", mapping=fields)
            await redis.zadd("chorus:engines", {"teacher": 1})
            await _until_known(AdapterClient(channel, token=TOKEN))
            await redis.delete("chorus:engine:{teacher}", "chorus:engines")
    finally:
        await engine.stop()


async def _until_known(client: AdapterClient) -> None:
    async def nothing() -> AsyncIterator[tuple[str, bytes]]:
        nothing_at_all: tuple[tuple[str, bytes], ...] = ()
        for chunk in nothing_at_all:
            yield chunk

    for _ in range(600):
        try:
            await client.publish(UploadHeader("teacher", "probe", BASE.name), nothing())
        except (Conflict, Unavailable):
            await asyncio.sleep(0.1)
        except GatewayError:
            return  # an upload without files is refused: the base is known
    raise AssertionError("the store did not learn the base model")


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        for probe in (first, second):
            probe.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]
