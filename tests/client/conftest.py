"""The gateway's application behind a real socket, on a thread of its own, with the adapter store's double."""

import asyncio
import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn

from chorus_client import ChorusAdmin
from chorus_gateway.api.admin_usage import usage_routers
from chorus_gateway.db import connect, migrate
from chorus_gateway.ledger.reports import Reports
from tests.adapter_store.support import BASE, make_upload
from tests.gateway.support.door import open_door
from tests.gateway.support.fake_store import FakeStore
from tests.gateway.support.redis_server import RedisServer, redis_client

_tenants = itertools.count()


@dataclass
class Running:
    url: str
    admin_key: str
    store: FakeStore  # a test on another thread may change its plain attributes


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client honours proxies of the environment, as httpx does."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("gateway")
    redis = RedisServer(folder)
    redis.start()
    serving = _Serving(folder, redis.url)
    try:
        yield serving.start()
    finally:
        serving.stop()
        redis.stop()


@pytest.fixture
def admin(gateway: Running) -> Iterator[ChorusAdmin]:
    with ChorusAdmin(gateway.url, gateway.admin_key, retries=0) as admin:
        yield admin


@pytest.fixture
def tenant(admin: ChorusAdmin) -> str:
    """The gateway lives longer than a test."""
    return admin.tenants.create(f"tenant-{next(_tenants)}").id


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_adapter(tmp_path / "adapter")


def write_adapter(folder: Path, seed: int = 0) -> Path:
    folder.mkdir()
    files = make_upload(seed=seed)
    (folder / "adapter_config.json").write_bytes(files.config_bytes)
    (folder / "adapter_model.safetensors").write_bytes(files.weights_bytes)
    return folder


class _Serving:
    def __init__(self, folder: Path, redis_url: str) -> None:
        self._folder = folder
        self._redis_url = redis_url
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._started = threading.Event()
        self._server: uvicorn.Server | None = None
        self._running: Running | None = None

    def start(self) -> Running:
        self._thread.start()
        assert self._started.wait(30)
        assert self._running is not None
        return self._running

    def stop(self) -> None:
        if self._server is not None:
            self._server.should_exit = True
        self._thread.join(30)

    async def _serve(self) -> None:
        async with AsyncExitStack() as stack:
            try:
                database = connect(f"sqlite+aiosqlite:///{self._folder}/gateway.db")
                stack.push_async_callback(database.close)
                await migrate(database)
                redis = await stack.enter_async_context(redis_client(self._redis_url))
                store = await FakeStore(BASE.name, "chorus-demo").start()
                stack.push_async_callback(store.stop)
                routers = usage_routers(Reports(database))
                door = await stack.enter_async_context(
                    open_door(database, redis, store.address, model=BASE.name, routers=routers)
                )
                listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
                self._server = uvicorn.Server(uvicorn.Config(door.app, log_level="warning", lifespan="off"))
                url = f"http://127.0.0.1:{listener.getsockname()[1]}"
                self._running = Running(url, door.admin_key.text, store)
            finally:
                self._started.set()
            await self._server.serve(sockets=[listener])
