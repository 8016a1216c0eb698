"""Every place that blobs can be in, with a way to meddle with what it keeps."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from chorus_adapter_store.blobs import Blobs, DiskBlobs, Eviction, MemoryBlobs
from chorus_adapter_store.blobs.bucket import Bucket
from chorus_adapter_store.blobs.s3 import S3Blobs
from chorus_adapter_store.telemetry.metrics import Metrics
from tests.adapter_store.s3 import S3Server, running_s3, use_credentials


@dataclass(frozen=True)
class Place:
    blobs: Blobs
    staging: Path
    overwrite: Callable[[str, bytes], object]  # what is kept of a digest, behind the store's back
    kept: Callable[[], set[str]]  # digests


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    with running_s3() as server:
        yield server


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    use_credentials(monkeypatch)
    return s3_server


@asynccontextmanager
async def on_disk(folder: Path, _server: S3Server) -> AsyncIterator[Place]:
    blobs = DiskBlobs(folder)
    yield Place(
        blobs,
        folder / "staging",
        lambda digest, content: blobs.path_of(digest).write_bytes(content),
        lambda: {path.name for path in (folder / "sha256").glob("??/*")},
    )
    await blobs.close()


@asynccontextmanager
async def in_memory(folder: Path, server: S3Server) -> AsyncIterator[Place]:
    """Before a disk. Too small for some of what is asked of it, so that both ways are taken."""
    async with on_disk(folder, server) as disk:
        memory = MemoryBlobs(disk.blobs, 4 << 20, Eviction(), Metrics())
        yield Place(memory, disk.staging, disk.overwrite, disk.kept)
        memory.check()


@asynccontextmanager
async def in_a_bucket(folder: Path, server: S3Server) -> AsyncIterator[Place]:
    name = f"blobs-{uuid4().hex}"
    server.make_bucket(name)
    bucket = Bucket(server.url)
    yield Place(
        blobs := S3Blobs(bucket, f"{name}/some/prefix", folder),
        folder / "staging",
        lambda digest, content: server.put(name, f"some/prefix/sha256/{digest[:2]}/{digest}", content),
        lambda: {key.rpartition("/")[2] for key in server.keys(name)},
    )
    await blobs.close()
    await bucket.close()


Opening = Callable[[Path, S3Server], AbstractAsyncContextManager[Place]]


@pytest.fixture(params=[on_disk, in_memory, in_a_bucket])
async def place(request: pytest.FixtureRequest, tmp_path: Path, s3: S3Server) -> AsyncIterator[Place]:
    opening: Opening = request.param
    async with opening(tmp_path, s3) as found:
        yield found
