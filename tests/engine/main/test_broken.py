"""A process whose step fails ends, and its requests with it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from chorus_engine import main
from chorus_engine.config import load_settings
from chorus_engine.core.plan import StepPlan
from chorus_engine.runner import Runner
from chorus_engine.startup import Loaded, load_model
from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.contracts.engine.support.checkpoint import make_served_checkpoint
from tests.contracts.engine.support.gateway import open_gateway, submit
from tests.contracts.engine.support.process import TOKEN


class BreakingRunner(Runner):
    def launch(self, plan: StepPlan) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


class WatchedEngine(main.Engine):
    """Serves while one request is asked."""

    async def ask(self) -> tuple[int, pb.Delta]:
        serving = asyncio.create_task(self.serve())
        async with open_gateway(self._address) as gateway:
            answer = await gateway.ask(submit("a"))
        return await asyncio.wait_for(serving, 20), answer.end


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
    return load_model(load_settings())


async def test_the_status_is_1_and_the_request_gets_its_error(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(main, "Runner", BreakingRunner)
    status, end = await WatchedEngine(load_settings(), loaded).ask()
    assert status == 1
    assert end.error.code == pb.ERROR_CODE_INTERNAL
    assert "illegal memory access" not in end.error.message
    assert "illegal memory access" in caplog.text
