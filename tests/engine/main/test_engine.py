"""The engine as it is put together: how it ends."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from chorus_engine import main
from chorus_engine.config import load_settings
from chorus_engine.core.plan import StepPlan
from chorus_engine.rpc import Credentials
from chorus_engine.runner import Runner
from chorus_engine.startup import HostMemory, Loaded, load_model
from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.contracts.engine.support.checkpoint import make_served_checkpoint
from tests.contracts.engine.support.gateway import open_gateway, submit
from tests.contracts.engine.support.process import TOKEN


class BreakingRunner(Runner):
    def launch(self, plan: StepPlan) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


class WatchedEngine(main.Engine):
    """With what a test cannot see from outside."""

    async def serve_for_a_moment(self) -> int:
        self._stopped.set()
        return await self.serve()

    async def ask(self) -> tuple[int, pb.Delta]:
        serving = asyncio.create_task(self.serve())
        async with open_gateway(self._address) as gateway:
            answer = await gateway.ask(submit("a"))
        return await asyncio.wait_for(serving, 60), answer.end


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    make_served_checkpoint(tmp_path)
    monkeypatch.setenv("CHORUS_MODEL", str(tmp_path))
    monkeypatch.setenv("CHORUS_SERVICE_TOKEN", TOKEN)
    monkeypatch.setenv("CHORUS_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("CHORUS_ENGINE_PORT", "0")
    monkeypatch.setenv("CHORUS_ENGINE_METRICS_PORT", "0")
    monkeypatch.setenv("CHORUS_ENGINE_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("CHORUS_KV_CACHE_MEMORY", "0.05")
    monkeypatch.setenv("CHORUS_HOST_ADAPTER_MEMORY", "0.01")
    return load_model(load_settings())


@pytest.fixture
def host(loaded: Loaded) -> Iterator[HostMemory]:
    host = HostMemory(load_settings())
    yield host
    host.close()


async def test_the_status_is_1_and_the_request_gets_its_error(
    loaded: Loaded, host: HostMemory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(main, "Runner", BreakingRunner)
    status, end = await WatchedEngine(load_settings(), loaded, host, Credentials()).ask()
    assert status == 1
    assert end.error.code == pb.ERROR_CODE_INTERNAL
    assert "illegal memory access" not in end.error.message
    assert "illegal memory access" in caplog.text


async def test_it_serves_once_its_loader_is_ready(
    loaded: Loaded, host: HostMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = WatchedEngine(load_settings(), loaded, host, Credentials())
    said: list[str] = []
    ready, start = engine._loader.ready, engine._server.start

    async def loader_ready() -> None:
        await ready()
        said.append("ready")

    async def server_start() -> None:
        said.append("serving")
        await start()
        engine._stopped.set()

    monkeypatch.setattr(engine._loader, "ready", loader_ready)
    monkeypatch.setattr(engine._server, "start", server_start)
    assert await engine.serve() == 0
    assert said == ["ready", "serving"]


async def test_the_number_of_threads_is_said_on_the_loops_thread(
    loaded: Loaded, host: HostMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: dict[str, int] = {}
    monkeypatch.setattr(torch, "set_num_threads", lambda n: said.update({threading.current_thread().name: n}))
    assert await WatchedEngine(load_settings(), loaded, host, Credentials()).serve_for_a_moment() == 0
    assert said == {"engine-loop": torch.get_num_threads()}
