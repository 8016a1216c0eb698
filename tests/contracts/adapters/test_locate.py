"""Where an adapter's files are, for who can read them without asking."""

import grpc
import pytest

from chorus_proto.adapters.v1 import adapters_pb2 as pb
from tests.adapter_store.support import make_upload
from tests.contracts.adapters.conftest import Client


async def locate(client: Client, digest: str) -> list[pb.FileBegin]:
    return list((await client.stub.Locate(pb.LocateRequest(digest=digest), metadata=client.metadata)).files)


async def test_files_are_located_as_they_are_fetched(client: Client) -> None:
    digest = (await client.publish(make_upload())).adapter.digest
    fetched = [chunk.begin for chunk in await client.fetch(digest) if chunk.HasField("begin")]
    assert await locate(client, digest) == fetched
    assert [file.file for file in fetched] == ["adapter_config.json", "adapter_model.safetensors"]
    await client.delete()
    assert await locate(client, digest) == fetched  # until its grace is over


@pytest.mark.parametrize(
    ("digest", "code"),
    [
        ("ab" * 32, grpc.StatusCode.NOT_FOUND),
        ("../" * 20, grpc.StatusCode.INVALID_ARGUMENT),
        ("", grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_an_unknown_digest_is_answered_as_by_fetch(client: Client, digest: str, code: grpc.StatusCode) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as located:
        await locate(client, digest)
    with pytest.raises(grpc.aio.AioRpcError) as fetched:
        await client.fetch(digest)
    assert located.value.code() is fetched.value.code() is code
    assert located.value.details() == fetched.value.details()


async def test_an_import_from_a_bucket_that_is_not_named_is_refused(client: Client) -> None:
    header = pb.PublishHeader(tenant=client.tenant, name="tone", model="demo")
    request = pb.ImportRequest(header=header, source="s3://bucket/prefix")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.stub.Import(request, metadata=client.metadata)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert str(caught.value.details()).startswith("source: ")
    assert [state for _, state, _ in await client.history()] == [pb.STATE_REFUSED]
