"""What blobs promise, wherever they are."""

import hashlib

import pytest

from chorus_adapter_store.blobs.protocol import CHUNK_BYTES
from chorus_adapter_store.errors import DataLoss
from tests.adapter_store.blobs.conftest import Place
from tests.adapter_store.blobs.content import CONTENT, DIGEST, content_of, files_below, load, store


@pytest.mark.parametrize("size", [1, CHUNK_BYTES, CHUNK_BYTES + 1, 20 * CHUNK_BYTES + 5])
async def test_bytes_come_back_under_their_digest(place: Place, size: int) -> None:
    content = content_of(size)
    digest = await store(place.blobs, content)
    assert digest == hashlib.sha256(content).hexdigest()
    for _ in range(2):
        chunks = [chunk async for chunk in place.blobs.read(digest, size)]
        assert b"".join(chunks) == content
        assert max(len(chunk) for chunk in chunks) <= CHUNK_BYTES
    assert await place.blobs.digests() == place.kept() == {digest}
    assert files_below(place.staging) == set()


async def test_what_is_not_kept_leaves_no_trace(place: Place) -> None:
    async with place.blobs.upload() as upload:
        await upload.write(CONTENT)
        assert upload.path.read_bytes() == CONTENT
        assert upload.size == len(CONTENT)
        await upload.seal()
        assert await place.blobs.digests() == frozenset()
    assert files_below(place.staging) == place.kept() == set()


async def test_the_same_bytes_may_come_again(place: Place) -> None:
    assert await store(place.blobs) == await store(place.blobs) == DIGEST
    assert await load(place.blobs) == CONTENT
    assert place.kept() == {DIGEST}


@pytest.mark.parametrize("removed", [False, True])
async def test_what_was_sent_is_there_when_it_is_kept(place: Place, removed: bool) -> None:
    await store(place.blobs)
    place.overwrite(DIGEST, CONTENT[:-1] + b"?")
    async with place.blobs.upload() as upload:
        await upload.write(CONTENT)
        await upload.seal()
        await upload.send()
        if removed:  # nothing names it yet
            await place.blobs.remove(DIGEST)
        await upload.keep()
    assert await load(place.blobs) == CONTENT


@pytest.mark.parametrize("wrong", [CONTENT[:-1] + b"?", CONTENT[:-1], CONTENT + b"?", b"", CONTENT * 3])
async def test_damage_is_told_at_the_end_and_healed_by_another_upload(place: Place, wrong: bytes) -> None:
    await store(place.blobs)
    place.overwrite(DIGEST, wrong)
    with pytest.raises(DataLoss, match=f"the blob {DIGEST} is damaged .*; upload the adapter again"):
        await load(place.blobs)
    await store(place.blobs)
    assert await load(place.blobs) == CONTENT


async def test_a_missing_blob_is_data_loss(place: Place) -> None:
    with pytest.raises(DataLoss, match=f"the blob {DIGEST} is missing"):
        await load(place.blobs)


async def test_a_reader_finishes_after_the_removal(place: Place) -> None:
    await store(place.blobs)
    reading = place.blobs.read(DIGEST, len(CONTENT))
    begun = await anext(reading)
    await place.blobs.remove(DIGEST)
    await place.blobs.remove(DIGEST)
    assert begun + b"".join([chunk async for chunk in reading]) == CONTENT
    assert await place.blobs.digests() == frozenset()
    with pytest.raises(DataLoss, match="missing"):
        await load(place.blobs)


async def test_a_reader_may_leave_early(place: Place) -> None:
    await store(place.blobs)
    for _ in range(3):
        reading = place.blobs.read(DIGEST, len(CONTENT))
        await anext(reading)
        await reading.aclose()
    assert await load(place.blobs) == CONTENT
