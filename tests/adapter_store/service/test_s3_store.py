"""A store whose files are in an S3-compatible bucket."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from chorus_adapter_store.blobs import DiskBlobs
from chorus_adapter_store.blobs.bucket import Bucket
from chorus_adapter_store.blobs.files import Files
from chorus_adapter_store.blobs.s3 import S3Blobs
from chorus_adapter_store.blobs.staged import Place, StagedUpload
from chorus_adapter_store.catalog import Database
from chorus_adapter_store.errors import Unavailable
from chorus_adapter_store.values import CONFIG_FILE, WEIGHTS_FILE
from chorus_proto.adapters.v1 import adapters_pb2 as pb
from chorus_proto.adapters.v1 import adapters_pb2_grpc
from tests.adapter_store.process import StoreProcess, running
from tests.adapter_store.rpc import METADATA, fetch, publish
from tests.adapter_store.s3 import CREDENTIALS, S3Server, running_s3, use_credentials
from tests.adapter_store.support import BASE, make_upload
from tests.adapter_store.world import World, addresses

HEADER = pb.PublishHeader(tenant="acme", name="tone", model="demo")


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with running_s3() as found:
        found.make_bucket("blobs")
        found.make_bucket("models")
        yield found


def options(server: S3Server) -> dict[str, str]:
    return {
        **CREDENTIALS,
        "CHORUS_S3_ENDPOINT_URL": server.url,
        "CHORUS_BLOB_URL": "s3://blobs/chorus",
        "CHORUS_IMPORT_BUCKETS": "models/shared",
        "CHORUS_STORE_DELETE_GRACE": "0",
        "CHORUS_STORE_SWEEP_INTERVAL": "0.2",
    }


def kept(server: S3Server) -> set[str]:
    return {key.rpartition("/")[2] for key in server.keys("blobs")}


def test_files_are_kept_in_the_bucket_fetched_from_it_and_collected(tmp_path: Path, server: S3Server) -> None:
    upload, imported = make_upload(seed=1), make_upload(seed=2)
    server.put("models", f"shared/tone/{CONFIG_FILE}", imported.config_bytes)
    server.put("models", f"shared/tone/{WEIGHTS_FILE}", imported.weights_bytes)
    with running(tmp_path, BASE, **options(server)) as store, grpc.insecure_channel(store.address) as channel:
        stub = adapters_pb2_grpc.AdapterStoreStub(channel)
        digest = publish(stub, upload)
        assert kept(server) == addresses(upload)
        request = pb.ImportRequest(header=HEADER, source="s3://models/shared/tone")
        second = stub.Import(request, metadata=METADATA)
        assert second.created
        assert second.adapter.generation == 2
        assert kept(server) == addresses(upload, imported)
        assert store.files() == set()
        assert fetch(stub, second.adapter.digest) == imported.weights_bytes
        assert_refused(stub, "s3://models/other/tone", grpc.StatusCode.INVALID_ARGUMENT)
        assert_refused(stub, "s3://models/shared/absent", grpc.StatusCode.NOT_FOUND)
        assert fetch(stub, digest) == upload.weights_bytes
        stub.Delete(pb.DeleteRequest(tenant="acme", name="tone"), metadata=METADATA)
        wait_until_empty(server, store)


def assert_refused(stub: "adapters_pb2_grpc.AdapterStoreStub", source: str, code: grpc.StatusCode) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.Import(pb.ImportRequest(header=HEADER, source=source), metadata=METADATA)
    assert caught.value.code() is code


def wait_until_empty(server: S3Server, store: StoreProcess) -> None:
    for _ in range(600):
        if not kept(server):
            return
        time.sleep(0.1)
    raise AssertionError(store.messages())


class SlowUpload(StagedUpload):
    def __init__(self, path: Path, place: Place) -> None:
        super().__init__(path, Files(), place)
        self.sending = asyncio.Event()
        self.sent = asyncio.Event()

    async def send(self) -> None:
        self.sending.set()
        await self.sent.wait()


class SlowBlobs(DiskBlobs):
    """Two uploads at once."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.uploads = [SlowUpload(self._staging.fresh_path(), self._place) for _ in range(2)]
        self._fresh = iter(self.uploads)

    @asynccontextmanager
    async def upload(self) -> AsyncIterator[StagedUpload]:
        upload = next(self._fresh)
        yield upload
        upload.discard()


async def test_an_upload_that_is_sent_slowly_holds_up_no_other(tmp_path: Path, database: Database) -> None:
    blobs = SlowBlobs(tmp_path / "slow")
    publishing = asyncio.create_task(World(tmp_path, database, durable=blobs).publish(make_upload(seed=1), "slow"))
    await blobs.uploads[0].sending.wait()
    await World(tmp_path, database).publish(make_upload(seed=2), "quick")
    assert not publishing.done()
    for upload in blobs.uploads:
        upload.sent.set()
    await publishing


async def test_a_bucket_that_is_away_is_said_so_and_nothing_is_left(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_credentials(monkeypatch)
    bucket = Bucket("http://127.0.0.1:1", patience=1)
    world = World(tmp_path, database, durable=S3Blobs(bucket, "blobs/chorus", tmp_path / "blobs"))
    with pytest.raises(
        Unavailable, match=r"^the bucket 'blobs' cannot be used \(Could not connect .*; try again later$"
    ):
        await world.publish(make_upload())
    assert world.blobs() == set()
    assert await world.store.page("", 10, None) == ()
    await world.memory.close()
    await bucket.close()
