"""Bytes on their way into a span: converted while they come, and refused when they are not what was named."""

import asyncio
import hashlib
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from chorus_engine.adapters import AdapterFiles, Layout, intake
from chorus_engine.adapters.host import FileHead
from chorus_engine.adapters.intake import Damaged, Intake, NoRoom
from chorus_engine.core.errors import AdapterUnavailable, AdapterUnusable
from chorus_engine.core.spec import AdapterFootprint
from tests.engine.adapters.build import LAYOUT, SPEC, converted, files, pair, plain_tensors


@pytest.fixture
def worker() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as worker:
        yield worker


class Rooms:
    """Gives memory full of NaN."""

    def __init__(self, *, refuse: bool = False) -> None:
        self.asked: list[tuple[AdapterFootprint, int]] = []
        self.given = torch.empty(0)
        self.gate = asyncio.Event()
        self.gate.set()
        self._refuse = refuse

    async def __call__(self, footprint: AdapterFootprint, size: int) -> Tensor:
        self.asked.append((footprint, size))
        await self.gate.wait()
        if self._refuse:
            raise NoRoom
        self.given = torch.full((size // LAYOUT.dtype.itemsize,), torch.nan, dtype=LAYOUT.dtype)
        return self.given


def head(name: str, data: bytes) -> FileHead:
    return FileHead(name, len(data), hashlib.sha256(data).hexdigest())


def parts_of(adapter: AdapterFiles, chunk: int = 100) -> list[FileHead | bytes]:
    parts: list[FileHead | bytes] = []
    for name, data in (("adapter_config.json", adapter.config), ("adapter_model.safetensors", adapter.model)):
        parts.append(head(name, data))
        parts += [data[at : at + chunk] for at in range(0, len(data), chunk)]
    return parts


async def stream(parts: Sequence[FileHead | bytes]) -> AsyncGenerator[FileHead | bytes]:
    for part in parts:
        await asyncio.sleep(0)
        yield part


async def take(
    worker: ThreadPoolExecutor, parts: AsyncIterator[FileHead | bytes], digest: str, rooms: Rooms | None = None
) -> None:
    await Intake(digest, LAYOUT, rooms or Rooms(), worker, max_bytes=1 << 20).take(parts)


@pytest.mark.parametrize("chunk", [1, 7, 100, 1 << 20])
async def test_what_comes_in_pieces_is_what_is_converted_at_once(worker: ThreadPoolExecutor, chunk: int) -> None:
    adapter, rooms = files(), Rooms()
    await take(worker, stream(parts_of(adapter, chunk)), adapter.digest(), rooms)
    whole = converted(adapter)
    assert rooms.asked == [(whole.footprint, whole.bytes)]
    torch.testing.assert_close(rooms.given, whole.weights.packed, rtol=0, atol=0)


async def test_it_is_converted_while_the_rest_is_on_its_way(worker: ThreadPoolExecutor) -> None:
    adapter, rooms, gate = files(), Rooms(), asyncio.Event()
    *most, last = parts_of(adapter, 50)

    async def slow() -> AsyncIterator[FileHead | bytes]:
        async for part in stream(most):
            yield part
        await gate.wait()
        yield last

    taking = asyncio.create_task(take(worker, slow(), adapter.digest(), rooms))
    async with asyncio.timeout(60):
        while not rooms.given.isfinite().any():  # noqa: ASYNC110 - memory tells nobody that it was written
            await asyncio.sleep(0.001)
    assert not taking.done()
    gate.set()
    await taking
    assert rooms.given.isfinite().all()


async def test_room_may_come_last(worker: ThreadPoolExecutor) -> None:
    adapter, rooms = files(), Rooms()
    rooms.gate.clear()
    taking = asyncio.create_task(take(worker, stream(parts_of(adapter)), adapter.digest(), rooms))
    async with asyncio.timeout(60):
        while not rooms.asked:  # noqa: ASYNC110 - by the worker's thread
            await asyncio.sleep(0.01)
    assert len(rooms.asked) == 1
    assert not taking.done()
    rooms.gate.set()
    await taking
    assert rooms.given.isfinite().all()


@pytest.mark.parametrize("ahead", [0, 300])
async def test_little_gathers_while_there_is_no_room(
    worker: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    monkeypatch.setattr(intake, "AHEAD", ahead)
    monkeypatch.setattr(intake, "BATCH", 0)  # every tensor by itself
    adapter, rooms = files(), Rooms()
    rooms.gate.clear()
    came = 0

    async def counted() -> AsyncIterator[FileHead | bytes]:
        nonlocal came
        async for part in stream(parts_of(adapter, 10)):
            came += len(part) if isinstance(part, bytes) else 0
            yield part

    taking = asyncio.create_task(take(worker, counted(), adapter.digest(), rooms))
    await asyncio.sleep(0.05)
    header = 8 + int.from_bytes(adapter.model[:8], "little")
    assert came <= len(adapter.config) + header + ahead + 20 < len(adapter.config + adapter.model)
    rooms.gate.set()
    async with asyncio.timeout(60):
        await taking
    assert rooms.given.isfinite().all()


async def test_of_matrices_of_the_base_nothing_is_kept(worker: ThreadPoolExecutor) -> None:
    spec = replace(SPEC, vocab_size=1 << 20)
    whole = {f"base_model.model.{name}.weight": torch.zeros(1 << 20, 8) for name in ("lm_head", "model.embed_tokens")}
    adapter, rooms, chunk = files(whole | plain_tensors()), Rooms(), 1 << 20
    config, model = adapter.config, memoryview(adapter.model)

    async def coming() -> AsyncIterator[FileHead | bytes]:
        yield head("adapter_config.json", config)
        yield config
        yield head("adapter_model.safetensors", adapter.model)
        for at in range(0, len(model), chunk):
            await asyncio.sleep(0)
            yield bytes(model[at : at + chunk])

    tracemalloc.start()
    try:
        taker = Intake(adapter.digest(), Layout(spec, torch.float32, 16), rooms, worker, max_bytes=1 << 20)
        await taker.take(coming())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(model) > 64 << 20
    assert peak < 16 << 20
    torch.testing.assert_close(rooms.given, converted(files()).weights.packed, rtol=0, atol=0)


async def test_a_tensor_may_begin_anywhere(worker: ThreadPoolExecutor) -> None:
    """Writers pad headers so that values are aligned; nothing says that they must."""
    plain = files()
    length = int.from_bytes(plain.model[:8], "little")
    text = plain.model[8 : 8 + length].rstrip() + b" "
    text += b" " * (1 - len(text) % 2)
    odd = AdapterFiles(plain.config, len(text).to_bytes(8, "little") + text + plain.model[8 + length :])
    rooms = Rooms()
    await take(worker, stream(parts_of(odd)), odd.digest(), rooms)
    torch.testing.assert_close(rooms.given, converted(plain).weights.packed, rtol=0, atol=0)


async def test_no_room_ends_it_early(worker: ThreadPoolExecutor) -> None:
    adapter = files()

    async def endless() -> AsyncIterator[FileHead | bytes]:
        async for part in stream(parts_of(adapter)[:-1]):
            yield part
        while True:
            await asyncio.sleep(0)
            yield b""

    with pytest.raises(NoRoom):
        await take(worker, endless(), adapter.digest(), Rooms(refuse=True))


GOOD = files()
FLIPPED = AdapterFiles(GOOD.config, GOOD.model[:-1] + bytes([GOOD.model[-1] ^ 1]))
HEADER_GONE = AdapterFiles(GOOD.config, bytes(len(GOOD.model)))
DAMAGED: dict[str, list[FileHead | bytes]] = {
    "model.safetensors of .* hashes to .* not to": [*parts_of(GOOD)[:-1], FLIPPED.model[-len(parts_of(GOOD)[-1]) :]],  # type: ignore[arg-type]  # the last part is bytes
    "after 0 bytes": parts_of(GOOD)[:-1][: parts_of(GOOD).index(head("adapter_model.safetensors", GOOD.model)) + 1],
    "sent more of adapter": [*parts_of(GOOD), b"x"],
    "gave .*adapter_config.json.* it must give both": parts_of(GOOD)[:1],
    "bytes hash to .* not to its digest .* upload it again": parts_of(FLIPPED),
    "hash to .* not to its digest .* upload": parts_of(HEADER_GONE),
    "sent more": [b"x"],
}


@pytest.mark.parametrize("reason", DAMAGED)
async def test_bytes_that_are_not_the_ones_named_are_damaged(worker: ThreadPoolExecutor, reason: str) -> None:
    with pytest.raises(Damaged, match=reason):
        await take(worker, stream(DAMAGED[reason]), GOOD.digest())


async def test_the_digest_is_checked_before_the_owner_is_blamed(worker: ThreadPoolExecutor) -> None:
    bad = files(pair("0.self_attn.q_proj", (2, 8), (6, 2)))
    with pytest.raises(AdapterUnusable, match=r"adapter_config\.json says 4") as caught:
        await take(worker, stream(parts_of(bad)), bad.digest())
    assert not isinstance(caught.value, Damaged)
    with pytest.raises(Damaged):
        await take(worker, stream(parts_of(bad)), "ab" * 32)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([head("adapter_model.safetensors", GOOD.model)], "it must give 'adapter_config.json', then"),
        ([head("adapter_config.json", b""), head("adapter_config.json", b"")], "'adapter_config.json' and"),
        ([FileHead("adapter_config.json", 1 << 21, "")], r"at most 1050624 \(CHORUS_HOST_ADAPTER_MEMORY\)"),
    ],
)
async def test_a_store_that_gives_other_files_is_refused(
    worker: ThreadPoolExecutor, parts: list[FileHead | bytes], reason: str
) -> None:
    with pytest.raises(AdapterUnusable, match=reason):
        await take(worker, stream(parts), GOOD.digest())


async def test_a_source_that_breaks_off_leaves_nothing_running(worker: ThreadPoolExecutor) -> None:
    async def broken() -> AsyncIterator[FileHead | bytes]:
        async for part in stream(parts_of(GOOD)[:-1]):
            yield part
        raise AdapterUnavailable("the store went away")

    with pytest.raises(AdapterUnavailable, match="went away"):
        await take(worker, broken(), GOOD.digest())
    assert len(asyncio.all_tasks()) == 1
