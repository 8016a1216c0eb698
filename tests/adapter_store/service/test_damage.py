"""Bytes that rot on the disk: found, told of once, mended from memory or by another upload, and never served."""

import asyncio
import logging
import time
import urllib.request
from pathlib import Path

import grpc
import pytest

from chorus_adapter_store.catalog import Database
from chorus_adapter_store.errors import DataLoss
from chorus_adapter_store.values import StoredFile
from chorus_proto.adapters.v1 import adapters_pb2_grpc
from tests.adapter_store.process import running
from tests.adapter_store.rpc import fetch, publish
from tests.adapter_store.support import Upload, make_upload
from tests.adapter_store.world import World, addresses


async def weights_of(world: World, digest: str) -> StoredFile:
    return (await world.store.files(digest))[1]


async def fetched(world: World, file: StoredFile) -> bytes:
    return b"".join([chunk async for chunk in world.store.read(file)])


def rot(world: World, file: StoredFile) -> None:
    path = world.disk.path_of(file.sha256)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def damaged(world: World) -> float | None:
    return world.metrics.registry.get_sample_value("blobs_damaged")


async def test_a_fetch_of_rotten_bytes_ends_in_data_loss_until_they_are_uploaded_again(
    tmp_path: Path, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path, database)
    file = await weights_of(world, await world.publish(make_upload()))
    rot(world, file)
    for _ in range(3):
        with pytest.raises(DataLoss, match=f"the blob {file.sha256} is damaged .*; upload the adapter again"):
            await fetched(world, file)
    assert damaged(world) == 1
    (said,) = [record for record in caplog.records if file.sha256 in record.getMessage()]
    assert said.levelno == logging.ERROR
    await world.scrubber.again()
    assert damaged(world) == 1
    await world.publish(make_upload())  # the very same: nothing is added
    assert await fetched(world, file) == make_upload().weights_bytes
    await world.scrubber.again()
    assert damaged(world) == 0


async def test_the_scrub_finds_rot_and_loss_before_anybody_asks(
    tmp_path: Path, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path, database)
    files = [await weights_of(world, await world.publish(make_upload(seed=seed), f"n{seed}")) for seed in range(4)]
    await world.scrubber.round()
    assert damaged(world) == 0
    rot(world, files[1])
    world.disk.path_of(files[2].sha256).unlink()
    for _ in range(2):
        await world.scrubber.round()
    assert damaged(world) == 2
    said = sorted(record.getMessage() for record in caplog.records if record.levelno == logging.ERROR)
    assert [message.split()[4] for message in said] == ["damaged", "missing"]
    assert all("upload the adapter again" in message for message in said)


async def test_what_memory_has_is_written_anew(
    tmp_path: Path, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path, database)
    rotten, lost = [
        await weights_of(world, await world.publish(make_upload(seed=seed), f"n{seed}")) for seed in range(2)
    ]
    for file in (rotten, lost):
        await fetched(world, file)
    rot(world, rotten)
    world.disk.path_of(lost.sha256).unlink()
    assert await fetched(world, rotten) == make_upload(seed=0).weights_bytes
    await world.scrubber.round()
    assert world.blobs() == addresses(make_upload(seed=0), make_upload(seed=1))
    assert world.disk.path_of(rotten.sha256).read_bytes() == make_upload(seed=0).weights_bytes
    assert damaged(world) == 0
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "a blob was missing or damaged and is written anew from memory"
    ] * 2


async def test_what_nobody_names_any_more_is_no_damage(tmp_path: Path, database: Database) -> None:
    world = World(tmp_path, database)
    file = await weights_of(world, await world.publish(make_upload()))
    rot(world, file)
    await world.scrubber.round()
    assert damaged(world) == 1
    await world.store.delete("acme", "tone", 0, "")
    world.clock.now += 601
    await world.janitor.sweep()
    await world.scrubber.again()
    assert damaged(world) == 0


async def test_every_blob_is_looked_at_once_page_by_page(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chorus_adapter_store.scrubber._PAGE", 2)
    world = World(tmp_path, database)
    for seed in range(5):
        await world.publish(make_upload(seed=seed), f"n{seed % 3}")
    looked: list[tuple[str, int]] = []

    async def look(sha256: str, size: int) -> None:
        looked.append((sha256, size))

    monkeypatch.setattr(world.scrubber, "examine", look)
    await world.scrubber.round()
    assert len(looked) == len(set(looked)) == 6  # one config, five weights
    assert {sha256 for sha256, _ in looked} == world.blobs()
    assert all(world.disk.path_of(sha256).stat().st_size == size for sha256, size in looked)


async def test_a_store_finds_what_rotted_while_it_was_down_and_an_upload_mends_it(
    tmp_path: Path, database: Database
) -> None:
    upload = make_upload()
    world = World(tmp_path, database)
    digest = await world.publish(upload)
    file = await weights_of(world, digest)
    rot(world, file)
    await world.memory.close()
    await asyncio.to_thread(_find_and_mend, tmp_path, upload, digest, file.sha256)


def _find_and_mend(tmp_path: Path, upload: Upload, digest: str, sha256: str) -> None:
    with running(tmp_path) as store, grpc.insecure_channel(store.address) as channel:
        stub = adapters_pb2_grpc.AdapterStoreStub(channel)
        sentence = f"the blob {sha256} is damaged on the store's disk; upload the adapter again"
        for _ in range(600):
            if sentence in store.messages():
                break
            time.sleep(0.1)
        assert b"blobs_damaged 1.0" in urllib.request.urlopen(f"http://127.0.0.1:{store.metrics_port}/metrics").read()
        with pytest.raises(grpc.RpcError) as caught:
            fetch(stub, digest)
        assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.DATA_LOSS, sentence)
        assert publish(stub, upload) == digest
        assert fetch(stub, digest) == upload.weights_bytes
    assert store.messages().count(sentence) == 1
