"""Blobs that are asked for again, from memory: a bounded number of bytes before the disk or the bucket."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing

from chorus_adapter_store.blobs.eviction import Eviction
from chorus_adapter_store.blobs.protocol import Blobs, Upload
from chorus_adapter_store.blobs.reading import Reading
from chorus_adapter_store.errors import Unavailable
from chorus_adapter_store.telemetry.metrics import Metrics


class MemoryBlobs:
    """Only bytes whose digest was checked are held. A blob is read once, however many want it at the same time; a slow
    or lost reader holds up nobody. One that is worth less than what would give way is read past the memory."""

    def __init__(
        self,
        blobs: Blobs,
        capacity: int,
        eviction: Eviction,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`capacity` in bytes, for what is held and what is being read; 0 holds nothing."""
        self._blobs = blobs
        self._capacity = capacity
        self._eviction = eviction
        self._metrics = metrics
        self._clock = clock
        self._held: dict[str, tuple[bytes, ...]] = {}
        self._sizes: dict[str, int] = {}  # of what is held and what is being read
        self._readings: dict[str, Reading] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._used = 0

    def upload(self) -> AbstractAsyncContextManager[Upload]:
        return self._blobs.upload()

    async def read(self, sha256: str, size: int) -> AsyncGenerator[bytes]:
        self._eviction.asked(sha256, self._clock())
        held, reading = self._held.get(sha256), self._readings.get(sha256)
        known = held is not None or reading is not None
        (self._metrics.cache_hits if known else self._metrics.cache_misses).inc()
        if held is not None:
            for chunk in held:
                yield chunk
            return
        reading = reading or self._begin(sha256, size)
        async with aclosing(reading.follow() if reading else self._blobs.read(sha256, size)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def digests(self) -> frozenset[str]:
        return await self._blobs.digests()

    async def remove(self, sha256: str) -> None:
        await self._blobs.remove(sha256)
        if sha256 in self._held:
            self._drop(sha256)
        elif sha256 in self._readings:
            self._readings[sha256].wanted = False

    async def repair(self, sha256: str) -> bool:
        """Write the blob anew from memory; False when it is not held. Raises Unavailable."""
        chunks = self._held.get(sha256)
        if chunks is None:
            return False
        async with self._blobs.upload() as upload:
            for chunk in chunks:
                await upload.write(chunk)
            if await upload.seal() != sha256:
                return False
            await upload.keep()
        return True

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._blobs.close()

    def check(self) -> None:
        """The law of this room."""
        assert self._used == sum(self._sizes.values()) <= self._capacity
        assert self._sizes.keys() == self._held.keys() | self._readings.keys()
        assert all(sum(map(len, chunks)) == self._sizes[sha256] for sha256, chunks in self._held.items())

    def _begin(self, sha256: str, size: int) -> Reading | None:
        """Make room and begin to read; None when there is none to be had."""
        if size > self._capacity:
            return None
        victims = self._eviction.victims(sha256, size, self._used + size - self._capacity)
        if victims is None:
            return None
        for victim in victims:
            self._drop(victim)
            self._metrics.cache_evictions.inc()
        self._take(sha256, size)
        reading = self._readings[sha256] = Reading()
        task = asyncio.create_task(self._fill(sha256, size, reading))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return reading

    async def _fill(self, sha256: str, size: int, reading: Reading) -> None:
        error: Exception | None = Unavailable("the adapter store is stopping; try again later")
        try:
            async with aclosing(self._blobs.read(sha256, size)) as chunks:
                async for chunk in chunks:
                    reading.add(chunk)
            error = None
        except Exception as failure:
            error = failure
        finally:
            del self._readings[sha256]
            if error is None and reading.wanted:
                self._held[sha256] = tuple(reading.chunks)
                self._eviction.hold(sha256, size)
            else:
                self._give_back(sha256)
            reading.end(error)

    def _drop(self, sha256: str) -> None:
        del self._held[sha256]
        self._eviction.release(sha256)
        self._give_back(sha256)

    def _take(self, sha256: str, size: int) -> None:
        self._sizes[sha256] = size
        self._used += size
        self._metrics.cache_bytes.set(self._used)

    def _give_back(self, sha256: str) -> None:
        self._used -= self._sizes.pop(sha256)
        self._metrics.cache_bytes.set(self._used)
