"""The store as a process, started as operators start it."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chorus_adapter_store.catalog import BaseCatalog, Database
from chorus_adapter_store.values import BaseSpec

TOKEN = "a token for tests only"
_START_SECONDS = 60


@dataclass
class StoreProcess:
    folder: Path
    process: "subprocess.Popen[str]"
    port: int = 0
    metrics_port: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def messages(self) -> list[str]:
        return [line["message"] for line in self.log]

    def files(self) -> set[str]:
        """Names of everything below the blob folder, locks aside."""
        found = (self.folder / "blobs").rglob("*")
        return {path.name for path in found if path.is_file() and path.name != "lock"}


def settings(folder: Path, **more: str) -> dict[str, str]:
    """An environment with nothing from outside but what Python needs, and no Redis unless given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CHORUS_", "OTEL_"))}
    return {
        **kept,
        "CHORUS_SERVICE_TOKEN": TOKEN,
        "CHORUS_STORE_PORT": "0",
        "CHORUS_STORE_METRICS_PORT": "0",
        "CHORUS_STORE_DATABASE_URL": f"sqlite+aiosqlite:///{folder}/store.db",
        "CHORUS_BLOB_DIR": str(folder / "blobs"),
        "CHORUS_REDIS_URL": "redis://127.0.0.1:1/0",
        **more,
    }


async def seed(environment: Mapping[str, str], *bases: BaseSpec) -> None:
    database = await Database.open(environment["CHORUS_STORE_DATABASE_URL"])
    for base in bases:
        await BaseCatalog(database).save(base, time.time())
    await database.close()


@contextmanager
def running(folder: Path, *bases: BaseSpec, **more: str) -> Iterator[StoreProcess]:
    """A store that knows `bases`, stopped at the end."""
    environment = settings(folder, **more)
    if bases:
        asyncio.run(seed(environment, *bases))
    process = subprocess.Popen(
        [sys.executable, "-m", "chorus_adapter_store"], env=environment, stderr=subprocess.PIPE, text=True
    )
    store = StoreProcess(folder, process)
    listening = threading.Event()
    reader = threading.Thread(target=_read_log, args=(store, listening))
    reader.start()
    try:
        assert listening.wait(_START_SECONDS), "the store did not start"
        assert store.port, f"the store did not start: {store.log}"
        yield store
    finally:
        process.terminate()
        process.wait(30)
        reader.join()
        assert process.stderr is not None
        process.stderr.close()


def _read_log(store: StoreProcess, listening: threading.Event) -> None:
    assert store.process.stderr is not None
    for line in store.process.stderr:
        record: dict[str, Any] = json.loads(line) if line.startswith("{") else {"message": line.rstrip()}
        if record["message"] == "listening":
            store.port, store.metrics_port = record["port"], record["metrics_port"]
            listening.set()
        store.log.append(record)
    listening.set()
