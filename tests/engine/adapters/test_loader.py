"""The loader's process and a store behind real gRPC: what arrives, what is refused, and what becomes of a bad end."""

import asyncio
import hashlib
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import pytest_asyncio
import torch
from safetensors.torch import save

from chorus_engine.adapters import AdapterFiles, Hello, LoaderClient, LoaderProcess, Region
from chorus_engine.adapters.arena import Arena, Span
from chorus_engine.adapters.loader import Refused, client, wire
from chorus_engine.adapters.loader.child import Loader
from chorus_engine.core.errors import AdapterNotFound, AdapterUnavailable, AdapterUnusable
from chorus_engine.core.spec import AdapterFootprint
from tests.contracts.engine.support.process import TOKEN
from tests.contracts.engine.support.store import StoreDouble
from tests.engine.adapters.build import LAYOUT, config, converted, files, pair, plain_tensors

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECONDS = 60.0  # a process starts, on a machine that does other things


class Bench:
    """A region whose spans are never given back, so that what was written can be looked at."""

    def __init__(self, region: Region, store: StoreDouble, volume: Path) -> None:
        self.region = region
        self.store = store
        self.volume = volume
        self.spans: dict[str, Span] = {}
        self.wishes: list[AdapterFootprint] = []
        self.processes: list[LoaderProcess] = []
        self._arena = Arena(region.size)
        start = partial(self._start)
        self.client = LoaderClient(
            start(),
            start,
            Hello.of(LAYOUT, store_address=store.address, token=TOKEN, roots=None, volume=str(volume)),
        )

    @property
    def pid(self) -> int:
        return self.processes[-1].pid

    async def load(self, digest: str, *, urgent: bool = True, traceparent: str = "") -> None:
        async with asyncio.timeout(SECONDS):
            await self.client.load(digest, traceparent, urgent=urgent, room=self._room)

    def written(self, digest: str) -> torch.Tensor:
        return self.region.view(self.spans[digest], LAYOUT.dtype)

    def put_on_volume(self, adapter: AdapterFiles) -> list[Path]:
        """As the store keeps it."""
        paths = []
        for data in (adapter.config, adapter.model):
            sha256 = hashlib.sha256(data).hexdigest()
            path = self.volume / "sha256" / sha256[:2] / sha256
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            paths.append(path)
        return paths

    async def _room(self, footprint: AdapterFootprint, size: int) -> int:
        self.wishes.append(footprint)
        if footprint.digest not in self.spans:
            span = self._arena.allocate(size)
            if span is None:
                raise AdapterUnavailable("there is no room")
            self.spans[footprint.digest] = span
        return self.spans[footprint.digest].begin

    def _start(self) -> LoaderProcess:
        self.processes.append(LoaderProcess(self.region, niceness=0))
        return self.processes[-1]


@pytest.fixture(scope="module")
def store() -> Iterator[StoreDouble]:
    store = StoreDouble(TOKEN)
    store.start()
    yield store
    store.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(store: StoreDouble, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    region = Region.create(64 << 20)
    bench = Bench(region, store, tmp_path_factory.mktemp("volume"))
    running = asyncio.create_task(bench.client.run())
    yield bench
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    region.close()
    assert all(not _is_alive(process.pid) for process in bench.processes)


def _is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _decoded(data: bytes) -> wire.Message:
    kind, values = json.loads(data[wire.LENGTH_BYTES :])
    message: wire.Message = getattr(wire, kind)(**values)
    return message


def fresh(number: int) -> AdapterFiles:
    return files(description=f"number {number}")


def large(number: int) -> AdapterFiles:
    """Some chunks long."""
    generator = torch.Generator().manual_seed(number)
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    tensors = {
        f"{name}.lora_A.weight": torch.randn(16, 8, generator=generator),
        f"{name}.lora_B.weight": torch.randn(6, 16, generator=generator),
    }
    return AdapterFiles(config(r=16), save(tensors, metadata={"padding": "x" * (3 << 20)}))


async def test_an_adapter_comes_into_the_region(bench: Bench) -> None:
    adapter = fresh(1)
    digest = bench.store.put(adapter)
    await bench.load(digest, traceparent="00-trace-01")
    whole = converted(adapter)
    assert bench.wishes[-1] == whole.footprint
    torch.testing.assert_close(bench.written(digest), whole.weights.packed, rtol=0, atol=0)
    assert bench.store.traceparents[-1] == "00-trace-01"
    shaped = bench.region.shape(LAYOUT, whole.footprint, bench.spans[digest])
    for key, (a, b) in shaped.weights.modules.items():
        torch.testing.assert_close((a, b), whole.weights.modules[key], rtol=0, atol=0)


async def test_several_come_at_once(bench: Bench) -> None:
    adapters = {bench.store.put(each): each for each in (fresh(n) for n in range(10, 18))}
    await asyncio.gather(*(bench.load(digest, urgent=i % 2 == 0) for i, digest in enumerate(adapters)))
    for digest, adapter in adapters.items():
        torch.testing.assert_close(bench.written(digest), converted(adapter).weights.packed, rtol=0, atol=0)


async def test_the_store_s_answers_keep_their_meaning(bench: Bench) -> None:
    with pytest.raises(AdapterNotFound, match="no adapter abab"):
        await bench.load("ab" * 32)
    with pytest.raises(AdapterUnusable, match=r"hash to .* not to its digest"):
        await bench.load(bench.store.put(fresh(2), digest="cd" * 32))
    bad = files(pair("0.self_attn.q_proj", (2, 8), (6, 2)))
    with pytest.raises(AdapterUnusable, match=r"adapter_config\.json says 4"):
        await bench.load(bench.store.put(bad))


async def test_no_room_says_the_engine(bench: Bench) -> None:
    digest = bench.store.put(fresh(3))

    async def none(footprint: AdapterFootprint, size: int) -> int:
        raise AdapterUnavailable(f"no room for {size} bytes")

    with pytest.raises(Refused, match="no room for 512 bytes"):
        async with asyncio.timeout(SECONDS):
            await bench.client.load(digest, "", urgent=True, room=none)


async def test_blobs_on_the_volume_are_read_there(bench: Bench) -> None:
    adapter = large(4)
    digest = bench.store.put(adapter)
    bench.put_on_volume(adapter)
    await bench.load(digest)
    torch.testing.assert_close(bench.written(digest), converted(adapter).weights.packed, rtol=0, atol=0)
    assert digest in bench.store.located
    assert digest not in bench.store.fetched


@pytest.mark.parametrize("harm", ["flipped", "cut off", "longer", "a folder"])
async def test_a_blob_that_is_not_as_it_should_be_is_fetched_instead(
    bench: Bench, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    adapter = large(100 + len(harm))
    digest = bench.store.put(adapter)
    _, path = bench.put_on_volume(adapter)
    data = bytearray(path.read_bytes())
    if harm == "flipped":
        data[-1] ^= 1
        path.write_bytes(data)
    elif harm == "cut off":
        path.write_bytes(data[: len(data) // 2])
    elif harm == "longer":
        path.write_bytes(data + b"x" * (1 << 20))
    else:
        path.unlink()
        path.mkdir()
    await bench.load(digest)
    torch.testing.assert_close(bench.written(digest), converted(adapter).weights.packed, rtol=0, atol=0)
    assert digest in bench.store.fetched
    assert "on the volume" in str([getattr(record, "note", "") for record in caplog.records])


async def test_an_answer_to_a_wish_that_was_given_up_is_none_to_the_next(bench: Bench) -> None:
    """As when a file on the volume turns out to be another one than its name says, while there is no room yet."""
    said: list[wire.Message] = []
    writer = SimpleNamespace(write=lambda data: said.append(_decoded(data)))
    hello = Hello.of(LAYOUT, store_address=bench.store.address, token=TOKEN, roots=None, volume=None)
    loader = Loader(hello, bench.region, cast(asyncio.StreamWriter, writer))
    footprint = AdapterFootprint("d", ((0, "self_attn.q_proj", 4),))
    first = asyncio.create_task(loader._room(1, footprint, 1024))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    second = asyncio.create_task(loader._room(1, footprint, 4096))
    await asyncio.sleep(0)
    earlier, later = (message.serial for message in said if isinstance(message, wire.Wish))
    loader.take(wire.Room(earlier, 0))
    await asyncio.sleep(0)
    assert not second.done()
    loader.take(wire.Room(later, 8192))
    assert (await second).data_ptr() == bench.region.view(Span(8192, 4096), LAYOUT.dtype).data_ptr()


async def test_a_wish_that_was_given_up_gets_no_room_any_more(bench: Bench, tmp_path: Path) -> None:
    adapter = large(200)
    digest = bench.store.put(adapter)
    _, path = bench.put_on_volume(adapter)
    tensors = plain_tensors(rank=16)
    padding = len(adapter.model) - len(save(tensors, metadata={"padding": ""}))
    path.write_bytes(save(tensors, metadata={"padding": "x" * padding}))  # as long, but it takes more room
    assert path.stat().st_size == len(adapter.model)
    given_up = asyncio.Event()

    async def room(footprint: AdapterFootprint, size: int) -> int:
        if size == converted(adapter).weights.bytes:
            return await bench._room(footprint, size)
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()
        raise AssertionError

    async with asyncio.timeout(SECONDS):
        await bench.client.load(digest, "", urgent=True, room=room)
        await given_up.wait()
    torch.testing.assert_close(bench.written(digest), converted(adapter).weights.packed, rtol=0, atol=0)


async def test_a_store_that_restarts_is_found_again(bench: Bench) -> None:
    adapter = fresh(6)
    digest = bench.store.put(adapter)
    bench.store.restart()
    for _ in range(300):
        try:
            await bench.load(digest)
            break
        except AdapterUnavailable:
            await asyncio.sleep(0.2)
    torch.testing.assert_close(bench.written(digest), converted(adapter).weights.packed, rtol=0, atol=0)


async def test_a_loader_that_is_killed_is_started_again_and_its_fetch_is_worth_another_attempt(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    adapter = fresh(7)
    digest, pid = bench.store.put(adapter), bench.pid
    bench.store.gate.clear()
    loading = asyncio.create_task(bench.load(digest))
    async with asyncio.timeout(SECONDS):
        while digest not in bench.store.fetched:  # noqa: ASYNC110 - the store is on other threads
            await asyncio.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(AdapterUnavailable, match="the loader of adapter"):
        await loading
    assert not _is_alive(pid), "whoever tries again may rely on it that nobody writes"
    bench.store.gate.set()
    await bench.load(digest)
    torch.testing.assert_close(bench.written(digest), converted(adapter).weights.packed, rtol=0, atol=0)
    assert bench.pid != pid
    assert caplog.text.count("the adapter loader is started again") == 1


async def test_a_loader_that_hangs_is_started_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "HUNG_SECONDS", 0.3)
    monkeypatch.setattr(client, "PING_INTERVAL", 0.05)
    monkeypatch.setattr(client, "RESTART_DELAY", 0.0)
    adapter = fresh(8)
    digest, pid = bench.store.put(adapter), bench.pid
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(AdapterUnavailable):
        await bench.load(digest)
    assert not _is_alive(pid)
    monkeypatch.setattr(client, "HUNG_SECONDS", SECONDS)
    await bench.load(digest)
    torch.testing.assert_close(bench.written(digest), converted(adapter).weights.packed, rtol=0, atol=0)


@pytest.mark.parametrize("at_work", [False, True])
async def test_a_loader_ends_with_its_engine(bench: Bench, at_work: bool) -> None:
    process = LoaderProcess(bench.region, niceness=0)
    if at_work:
        digest = bench.store.put(fresh(9))
        bench.store.gate.clear()
        hello = Hello.of(LAYOUT, store_address=bench.store.address, token=TOKEN, roots=None, volume=None)
        for message in (hello, wire.Fetch(1, digest, "", True)):
            process.socket.sendall(wire.encode(message))
        async with asyncio.timeout(SECONDS):
            while digest not in bench.store.fetched:  # noqa: ASYNC110 - the store is on other threads
                await asyncio.sleep(0.01)
    process.socket.close()
    async with asyncio.timeout(SECONDS):
        assert await asyncio.to_thread(process._process.wait) == 0
    bench.store.gate.set()
