"""An engine whose loader dies, and one that reads the store's blobs itself: what its requests see of it."""

import asyncio
import hashlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chorus_engine.adapters import AdapterFiles
from tests.contracts.engine.conftest import Served
from tests.contracts.engine.support.gateway import open_gateway, submit
from tests.contracts.engine.support.process import EngineProcess
from tests.contracts.engine.support.store import StoreDouble

PROMPT = list(range(3, 20))


@pytest.fixture
async def engine(checkpoint: Path, store: StoreDouble, tmp_path: Path) -> AsyncIterator[EngineProcess]:
    """With a volume that is empty at first."""
    engine = EngineProcess(
        checkpoint, tmp_path, store.address, environment={"CHORUS_ADAPTER_VOLUME": str(tmp_path / "blobs")}
    )
    await asyncio.to_thread(engine.start)
    yield engine
    assert await asyncio.to_thread(engine.stop) == 0


def variant(store: StoreDouble, number: int) -> AdapterFiles:
    """The same weights under another digest."""
    first = next(iter(store.files.values()))
    return AdapterFiles(first.config + b" " * number, first.model)


def loader_of(engine: EngineProcess) -> int:
    """The process that the engine started."""
    (pid,) = Path(f"/proc/{engine.process.pid}/task/{engine.process.pid}/children").read_text().split()
    return int(pid)


def keep(files: AdapterFiles, blobs: Path) -> None:
    """As the store does."""
    for data in (files.config, files.model):
        sha256 = hashlib.sha256(data).hexdigest()
        path = blobs / "sha256" / sha256[:2] / sha256
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


async def test_requests_outlive_the_loader_and_a_volume_is_read(
    engine: EngineProcess, served: Served, store: StoreDouble
) -> None:
    fetched, read = (store.put(variant(store, number)) for number in (41, 42))
    keep(store.files[read], engine.folder / "blobs")
    async with open_gateway(served.address) as gateway:
        expected = (await gateway.ask(submit("expected", PROMPT, adapter_digest=served.adapter))).token_ids
    async with open_gateway(engine.address) as gateway:
        assert (await gateway.ask(submit("read", PROMPT, adapter_digest=read))).token_ids == expected
        assert read not in store.fetched
        store.gate.clear()
        await gateway.submit(submit("fetched", PROMPT, adapter_digest=fetched))
        async with asyncio.timeout(30):
            while fetched not in store.fetched:  # noqa: ASYNC110 - the store is on other threads
                await asyncio.sleep(0.01)
        os.kill(loader_of(engine), signal.SIGKILL)
        base = await gateway.ask(submit("base", PROMPT))
        assert base.token_ids != expected
        assert (await gateway.ask(submit("again", PROMPT, adapter_digest=read))).token_ids == expected
        store.gate.set()
        assert (await gateway.answer("fetched")).token_ids == expected
    messages = [line["message"] for line in engine.lines]
    assert messages.count("the adapter loader is started again") == 1
    assert "Traceback" not in str(engine.lines)
