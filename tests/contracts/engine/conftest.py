"""The cases here hold for whatever serves chorus.engine.v1.Engine: another engine, or a fake of one, joins by a name in
`ENGINES` and a branch in `served`."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contracts.engine.support.checkpoint import make_files, make_served_checkpoint
from tests.contracts.engine.support.gateway import Gateway, open_gateway
from tests.contracts.engine.support.process import TOKEN, EngineProcess
from tests.contracts.engine.support.store import StoreDouble
from tests.engine.oracle.support.checkpoints import ALL, AdapterShape

ONE_WORKER = pytest.mark.xdist_group("engine-contract")  # else each would start a process of its own
ENGINES = (pytest.param("real", marks=ONE_WORKER),)


@dataclass(frozen=True)
class Served:
    """A running engine: at most 4 requests at once, 1024 tokens each, a vocabulary of 211."""

    address: str
    metrics_port: int
    adapter: str  # the digest of one that the store has
    store: StoreDouble


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    make_served_checkpoint(folder)
    return folder


@pytest.fixture(scope="session")
def store(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreDouble]:
    store = StoreDouble(TOKEN)
    store.put(make_files(checkpoint, tmp_path_factory.mktemp("adapter"), AdapterShape(8, ALL)))
    store.start()
    yield store
    store.stop()


@pytest.fixture(scope="session", params=ENGINES)
def served(checkpoint: Path, store: StoreDouble, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    engine = EngineProcess(checkpoint, tmp_path_factory.mktemp("engine"), store.address)
    engine.start()
    yield Served(engine.address, engine.metrics_port, next(iter(store.files)), store)
    assert engine.stop() == 0
    assert [line for line in engine.lines if line.get("level") not in ("info", "warning")] == []


@pytest.fixture
def engine_address(served: Served) -> str:
    return served.address


@pytest.fixture
async def gateway(engine_address: str) -> AsyncIterator[Gateway]:
    async with open_gateway(engine_address) as gateway:
        yield gateway
