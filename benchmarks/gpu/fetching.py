"""The engine's own way of bringing adapters, for rows that measure it: loader process, region, fetcher."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from benchmarks.gpu.adapters import random_adapter
from benchmarks.gpu.engines import TOKEN, EngineConfig
from benchmarks.gpu.volume import Volume
from chorus_engine.adapters import (
    AdapterFetcher,
    AdapterSupply,
    Hello,
    HostCache,
    Layout,
    LoaderClient,
    LoaderProcess,
    Region,
    make_policy,
)
from chorus_engine.core.spec import AdapterFootprint, ModelSpec
from chorus_engine.loop import EngineLoop
from chorus_engine.scheduler import Scheduler

NICENESS = 10  # as the engine's own setting


class Fetching:
    """As chorus_engine.main puts it together. Made inside the event loop, before the scheduler and the loop are."""

    def __init__(self, config: EngineConfig, spec: ModelSpec, dtype: torch.dtype, device: torch.device) -> None:
        self._config = config
        self._device = device
        self._events = asyncio.get_running_loop()
        self._layout = Layout(spec, dtype, config.max_rank)
        self._folder = tempfile.TemporaryDirectory(prefix="chorus-volume-")
        self._volume = Volume(Path(self._folder.name))
        self._region = Region.create(config.host_bytes)
        if device.type == "cuda":
            from chorus_engine.adapters import pinning

            pinning.pin(self._region)
        hello = Hello.of(
            self._layout, store_address=self._volume.address, token=TOKEN, roots=None, volume=self._folder.name
        )
        start = partial(LoaderProcess, self._region, NICENESS)
        self._loader = LoaderClient(start(), start, hello)
        self.cache = HostCache(
            self._region.size,
            make_policy("lru"),  # so that what comes in turn is never there
            needed=lambda digest: self._scheduler.awaits_adapter(digest),
            dropped=lambda digest: self._scheduler.adapter_evicted(digest),
        )

    def supply(self, scheduler: Scheduler) -> AdapterSupply:
        self._scheduler = scheduler
        return AdapterSupply(
            self.cache,
            start=lambda digest, urgent: self._call(partial(self._fetcher.start, digest, urgent=urgent)),
            hasten=lambda digest: self._call(partial(self._fetcher.hasten, digest)),
            priority=scheduler.priority,
            shape=partial(self._region.shape, self._layout),
        )

    def begin(self, loop: EngineLoop) -> None:
        """Once the engine serves."""
        self._loop = loop
        self._fetcher = AdapterFetcher(
            self._loader,
            room=self._room,
            arrived=loop.adapter_arrived,
            failed=loop.adapter_failed,
            trace=_untraced,
        )
        self._running = self._events.create_task(self._loader.run())

    async def end(self) -> None:
        await self._fetcher.close()
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        self._folder.cleanup()

    def draw(self) -> list[str]:
        """Adapters onto the volume; their digests."""
        ranks, spec, dtype = self._config.ranks, self._layout.spec, self._layout.dtype
        digests = [
            self._volume.add(random_adapter(index, ranks[index % len(ranks)], spec, dtype, self._device))
            for index in range(self._config.adapters)
        ]
        self._volume.publish()
        return digests

    def _call(self, act: Callable[[], None]) -> None:
        self._events.call_soon_threadsafe(act)

    async def _room(self, footprint: AdapterFootprint, size: int) -> int:
        return await asyncio.wrap_future(self._loop.adapter_room(footprint, size))


@contextmanager
def _untraced(digest: str, traceparent: str) -> Iterator[str]:
    yield traceparent
