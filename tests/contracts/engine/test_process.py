"""The engine as a process: signals, ports, and what it needs to be imported."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chorus_engine.model.digest import base_digest
from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.contracts.engine.support.gateway import open_gateway, sampling, submit
from tests.contracts.engine.support.process import TOKEN, EngineProcess


@pytest.fixture
async def engine(checkpoint: Path, tmp_path: Path) -> AsyncIterator[EngineProcess]:
    engine = EngineProcess(checkpoint, tmp_path, environment={"CHORUS_DRAIN_SECONDS": "60"})
    await asyncio.to_thread(engine.start)
    yield engine
    await asyncio.to_thread(engine.stop)


async def test_a_signal_lets_running_requests_finish_and_refuses_new_ones(engine: EngineProcess) -> None:
    async with open_gateway(engine.address) as gateway:
        await gateway.ask_for_credits(2)
        await gateway.wait_for(lambda: gateway.credits == 2)
        await gateway.send(submits=[submit("runs", sampling=sampling(1000))])
        await gateway.wait_for(lambda: ("runs", 0) in gateway.answers)
        engine.process.terminate()
        await asyncio.sleep(0.2)
        await gateway.send(submits=[submit("late")])
        assert (await gateway.answer("late")).end.error.code == pb.ERROR_CODE_DRAINING
        assert len((await gateway.answer("runs")).token_ids) == 1000
    assert await asyncio.to_thread(engine.process.wait, 60) == 0
    assert [line for line in engine.lines if line.get("level") == "error"] == []


def test_an_engine_ends_when_a_weight_file_is_not_what_it_was(checkpoint: Path, tmp_path: Path) -> None:
    """Changed in place, with its size and time: the digest in the cache is no longer that of the weights."""
    model, cache = tmp_path / "model", tmp_path / "digests.json"
    shutil.copytree(checkpoint, model)
    weights = model / "model.safetensors"
    before = base_digest(model / "config.json", [weights], cache).value
    stat, content = weights.stat(), weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    engine = EngineProcess(model, tmp_path)
    engine.start()
    assert engine.process.wait(60) == 1
    engine.stop()

    (error,) = [line for line in engine.lines if line.get("level") == "error"]
    assert str(weights) in error["message"]
    assert base_digest(model / "config.json", [weights], cache).value != before, "the next start reads the file"


def test_a_busy_port_is_one_sentence_before_the_model_is_read() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = subprocess.run(
            [sys.executable, "-m", "chorus_engine"],
            env=os.environ
            | {"CHORUS_MODEL": "/nowhere", "CHORUS_SERVICE_TOKEN": TOKEN, "CHORUS_ENGINE_PORT": str(port)},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert ended.returncode == 2
    assert ended.stderr.startswith(
        f"chorus-engine: the engine cannot listen on 127.0.0.1:{port} (Address already in use)"
    )
    assert ended.stderr.count("\n") == 1


def test_the_wire_and_the_loop_need_no_operators_libraries() -> None:
    absent = ("grpc_health", "pydantic", "pydantic_settings", "opentelemetry", "prometheus_client", "redis")
    code = f"import sys; sys.modules.update(dict.fromkeys({absent})); import chorus_engine.rpc, chorus_engine.loop"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
