"""Memory before blobs: read once, bounded, never wrong, and in nobody's way."""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chorus_adapter_store.blobs import DiskBlobs, Eviction, MemoryBlobs
from chorus_adapter_store.blobs.protocol import CHUNK_BYTES
from chorus_adapter_store.errors import DataLoss, Unavailable
from chorus_adapter_store.telemetry.metrics import Metrics
from tests.adapter_store.blobs.content import CONTENT, DIGEST, content_of, load, store
from tests.support.often import often


class Gate(DiskBlobs):
    """A disk that gives a chunk at a time, when it is told to."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads = 0
        self.chunks = asyncio.Semaphore(1000)
        self.failure: Exception | None = None

    async def read(self, sha256: str, size: int) -> AsyncGenerator[bytes]:
        self.reads += 1
        async for chunk in super().read(sha256, size):
            await self.chunks.acquire()
            if self.failure:
                raise self.failure
            yield chunk


class World:
    def __init__(self, folder: Path, capacity: int) -> None:
        self.disk = Gate(folder)
        self.metrics = Metrics()
        self.memory = MemoryBlobs(self.disk, capacity, Eviction(), self.metrics)

    def counted(self, name: str) -> float:
        value = self.metrics.registry.get_sample_value(name)
        assert value is not None
        return value


async def put(world: World, size: int, seed: int = 0) -> tuple[str, int]:
    return await store(world.memory, content_of(size, seed)), size


async def test_what_was_read_comes_from_memory_and_is_counted(tmp_path: Path) -> None:
    world = World(tmp_path, 8 * CHUNK_BYTES)
    await store(world.memory)
    for _ in range(3):
        assert await load(world.memory) == CONTENT
    assert world.disk.reads == 1
    assert world.counted("blob_cache_misses_total") == 1
    assert world.counted("blob_cache_hits_total") == 2
    assert world.counted("blob_cache_bytes") == len(CONTENT)
    world.memory.check()


async def test_ten_readers_at_once_read_the_disk_once_and_a_lost_one_stops_nobody(tmp_path: Path) -> None:
    world = World(tmp_path, 8 * CHUNK_BYTES)
    await store(world.memory)
    world.disk.chunks = asyncio.Semaphore(1)
    first = world.memory.read(DIGEST, len(CONTENT))
    async with asyncio.timeout(60):
        assert await anext(first) == CONTENT[:CHUNK_BYTES]  # the others are not read yet
    waiting = [asyncio.create_task(load(world.memory)) for _ in range(10)]
    await asyncio.sleep(0)
    await first.aclose()
    waiting.pop().cancel()
    for _ in range(10):
        world.disk.chunks.release()
    assert set(await asyncio.gather(*waiting)) == {CONTENT}
    assert world.disk.reads == 1
    world.memory.check()


@pytest.mark.parametrize("failure", [Unavailable("the store's disk failed"), DataLoss("the blob is damaged")])
async def test_a_reading_that_fails_fails_for_all_and_nothing_is_held(tmp_path: Path, failure: Exception) -> None:
    world = World(tmp_path, 8 * CHUNK_BYTES)
    await store(world.memory)
    world.disk.chunks, world.disk.failure = asyncio.Semaphore(0), failure
    waiting = [asyncio.create_task(load(world.memory)) for _ in range(3)]
    await asyncio.sleep(0.01)
    world.disk.chunks.release()
    assert await asyncio.gather(*waiting, return_exceptions=True) == [failure] * 3
    world.memory.check()
    assert world.counted("blob_cache_bytes") == 0
    world.disk.chunks, world.disk.failure = asyncio.Semaphore(1000), None
    assert await load(world.memory) == CONTENT


async def test_damaged_bytes_never_enter(tmp_path: Path) -> None:
    world = World(tmp_path, 8 * CHUNK_BYTES)
    await store(world.memory)
    world.disk.path_of(DIGEST).write_bytes(CONTENT[:-1] + b"?")
    for _ in range(2):
        with pytest.raises(DataLoss):
            await load(world.memory)
    assert world.disk.reads == 2


async def test_it_is_bounded_and_what_has_no_place_is_read_past_it(tmp_path: Path) -> None:
    world = World(tmp_path, 4 * CHUNK_BYTES)
    small = [await put(world, CHUNK_BYTES, seed) for seed in range(6)]
    large = await put(world, 5 * CHUNK_BYTES)
    for _ in range(3):
        for digest, size in small[:4]:
            await load(world.memory, digest, size)
    assert world.disk.reads == 4
    assert hashlib.sha256(await load(world.memory, *large)).hexdigest() == large[0]
    await load(world.memory, *small[4])  # asked for once: not worth one that was asked for three times
    assert world.counted("blob_cache_evictions_total") == 0
    for _ in range(4):
        await load(world.memory, *small[5])
    assert world.counted("blob_cache_evictions_total") == 1
    assert world.counted("blob_cache_bytes") == 4 * CHUNK_BYTES
    world.memory.check()


async def test_what_is_removed_is_forgotten_also_while_it_is_read(tmp_path: Path) -> None:
    world = World(tmp_path, 8 * CHUNK_BYTES)
    await store(world.memory)
    await load(world.memory)
    await world.memory.remove(DIGEST)
    world.memory.check()
    assert world.counted("blob_cache_bytes") == 0
    await store(world.memory)
    world.disk.chunks = asyncio.Semaphore(1)
    reading = world.memory.read(DIGEST, len(CONTENT))
    begun = await anext(reading)
    await world.memory.remove(DIGEST)
    for _ in range(10):
        world.disk.chunks.release()
    assert begun + b"".join([chunk async for chunk in reading]) == CONTENT
    world.memory.check()
    assert world.counted("blob_cache_bytes") == 0


async def test_what_is_held_is_written_anew(tmp_path: Path) -> None:
    world = World(tmp_path, 8 * CHUNK_BYTES)
    await store(world.memory)
    assert not await world.memory.repair(DIGEST)
    await load(world.memory)
    world.disk.path_of(DIGEST).unlink()
    assert await world.memory.repair(DIGEST)
    assert world.disk.path_of(DIGEST).read_bytes() == CONTENT


async def test_none_is_held_without_memory(tmp_path: Path) -> None:
    world = World(tmp_path, 0)
    await store(world.memory)
    for _ in range(2):
        assert await load(world.memory) == CONTENT
    assert world.disk.reads == 2


async def test_closing_ends_the_readings(tmp_path: Path) -> None:
    world = World(tmp_path, 8 * CHUNK_BYTES)
    await store(world.memory)
    world.disk.chunks = asyncio.Semaphore(0)
    waiting = asyncio.create_task(load(world.memory))
    await asyncio.sleep(0.01)
    await world.memory.close()
    with pytest.raises(Unavailable, match="stopping"):
        await waiting
    world.memory.check()


STEPS = st.lists(
    st.tuples(st.sampled_from(["read", "leave", "remove", "rot", "store", "turn"]), st.integers(0, 5)), max_size=40
)


@settings(max_examples=often(40), deadline=None)
@given(STEPS)
def test_whatever_happens_bytes_are_right_and_the_room_adds_up(steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(lived(World(Path(folder), 50_000), steps))


async def lived(world: World, steps: list[tuple[str, int]]) -> None:
    contents = [content_of(3_000 + 9_000 * seed, seed) for seed in range(6)]
    digests = [hashlib.sha256(content).hexdigest() for content in contents]
    reading: list[asyncio.Task[None]] = []

    async def read(index: int) -> None:
        with suppress(DataLoss):  # it is not there, or not what it was: nothing wrong was taken for right
            assert await load(world.memory, digests[index], len(contents[index])) == contents[index]

    for step, index in steps:
        path = world.disk.path_of(digests[index])
        match step:
            case "read":
                reading.append(asyncio.create_task(read(index)))
            case "leave" if reading:
                reading.pop(index % len(reading)).cancel()
            case "remove":
                await world.memory.remove(digests[index])
            case "rot" if path.exists():
                path.write_bytes(bytes(len(contents[index])))
            case "store":
                await store(world.memory, contents[index])
            case _:
                await asyncio.sleep(0.001)
        world.memory.check()
    await asyncio.gather(*reading)
    await world.memory.close()
    world.memory.check()
