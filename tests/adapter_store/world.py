"""A store in this process, on a disk that may fail and a clock that is moved by hand."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

from chorus_adapter_store.blobs import Blobs, Damage, DiskBlobs, Eviction, MemoryBlobs
from chorus_adapter_store.blobs.files import Files
from chorus_adapter_store.catalog import (
    AliasCatalog,
    BaseCatalog,
    Catalog,
    Database,
    HistoryCatalog,
    LifecycleCatalog,
    Retention,
    SharingCatalog,
)
from chorus_adapter_store.events import Event
from chorus_adapter_store.imports import Imports
from chorus_adapter_store.janitor import Janitor
from chorus_adapter_store.scrubber import Scrubber
from chorus_adapter_store.store import AdapterStore
from chorus_adapter_store.telemetry.metrics import Metrics
from chorus_adapter_store.uploading import Part
from chorus_adapter_store.validate import Limits, check_adapter
from chorus_adapter_store.values import CONFIG_FILE, WEIGHTS_FILE, AdapterFacts, BaseSpec
from tests.adapter_store.support import Upload


class NoEvents:
    async def send(self, *events: Event) -> None:
        """Nobody listens."""


class Here:
    """Checks in this process."""

    async def validate(self, config: Path, weights: Path, base: BaseSpec) -> AdapterFacts:
        return await asyncio.to_thread(check_adapter, config, weights, base, Limits())


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class World:
    def __init__(
        self,
        folder: Path,
        database: Database,
        files: Files | None = None,
        imports: Imports | None = None,
        durable: Blobs | None = None,
    ) -> None:
        self.folder = folder
        self.clock = Clock()
        self.metrics = Metrics()
        self.damage = Damage(self.metrics)
        self.disk = DiskBlobs(folder / "blobs", files)
        self.memory = blobs = MemoryBlobs(durable or self.disk, 1 << 24, Eviction(), self.metrics)
        limits = Limits()
        history = HistoryCatalog(database)
        self.janitor = Janitor(Retention(database), history, blobs, grace=600, clock=self.clock)
        self.scrubber = Scrubber(Retention(database), self.disk, blobs, self.damage, speed=1e12)
        self.store = AdapterStore(
            catalog=Catalog(database),
            lifecycle=LifecycleCatalog(database),
            history=history,
            aliases=AliasCatalog(database),
            sharing=SharingCatalog(database),
            bases=BaseCatalog(database),
            blobs=blobs,
            damage=self.damage,
            validator=Here(),
            imports=imports or Imports(None, (), 60),
            events=NoEvents(),
            janitor=self.janitor,
            metrics=self.metrics,
            limits=limits,
            clock=self.clock,
        )

    async def publish(self, upload: Upload, name: str = "tone") -> str:
        generation, _ = await self.store.publish("acme", name, "demo", parts(upload))
        return generation.digest

    def blobs(self) -> set[str]:
        found = (self.folder / "blobs").rglob("*")
        return {path.name for path in found if path.is_file() and path.name != "lock"}


async def parts(upload: Upload) -> AsyncIterator[Part]:
    yield CONFIG_FILE, upload.config_bytes
    yield WEIGHTS_FILE, upload.weights_bytes


def addresses(*uploads: Upload) -> set[str]:
    contents = [content for each in uploads for content in (each.config_bytes, each.weights_bytes)]
    return {hashlib.sha256(content).hexdigest() for content in contents}
