"""What the gateway relies on in an adapter store about imports: the real one, with a bucket, and its double."""

import itertools
from collections.abc import AsyncIterator

import grpc.aio
import pytest

from chorus_gateway.adapters import AdapterClient, UploadHeader
from chorus_gateway.errors import InvalidRequest, NotFound, QuotaExceeded
from chorus_gateway.values import Limits
from tests.adapter_store.support import BASE, make_upload
from tests.gateway.admin.conftest import FillBucket
from tests.gateway.support.fake_store import TOKEN

_tenants = itertools.count()
FILES = {
    "adapter_config.json": make_upload().config_bytes,
    "adapter_model.safetensors": make_upload().weights_bytes,
}


@pytest.fixture
def header() -> UploadHeader:
    """Of a tenant that is new, since the real store lives longer than a test."""
    return UploadHeader(f"importing-{next(_tenants)}", "sql", BASE.name)


@pytest.fixture
async def client(store_address: str) -> AsyncIterator[AdapterClient]:
    async with grpc.aio.insecure_channel(store_address) as channel:
        yield AdapterClient(channel, token=TOKEN)


async def test_an_import_is_an_upload(client: AdapterClient, header: UploadHeader, fill_bucket: FillBucket) -> None:
    fill_bucket(header.tenant, FILES)
    source = f"s3://adapters/{header.tenant}"
    first = await client.import_from(source, header)
    assert (first.created, first.adapter.generation, first.adapter.aliases) == (True, 1, ("latest",))
    assert not (await client.import_from(source, header)).created
    for file, content in FILES.items():
        download = await client.download(first.adapter.digest, file)
        assert b"".join([chunk async for chunk in download.chunks]) == content
    with pytest.raises(QuotaExceeded, match="adapters: "):
        await client.import_from(source, UploadHeader(header.tenant, "second", BASE.name), Limits(adapters=1))


async def test_a_bad_file_is_refused_by_name(
    client: AdapterClient, header: UploadHeader, fill_bucket: FillBucket
) -> None:
    fill_bucket(header.tenant, FILES | {"adapter_config.json": b"{not json"})
    with pytest.raises(InvalidRequest, match=r"adapter_config\.json"):
        await client.import_from(f"s3://adapters/{header.tenant}", header)
    assert await client.list(header.tenant) == ()


async def test_what_is_not_there_is_not_found(client: AdapterClient, header: UploadHeader) -> None:
    with pytest.raises(NotFound, match=r"adapter_config\.json"):
        await client.import_from("s3://adapters/none", header)


@pytest.mark.parametrize("source", ["s3://elsewhere/sql", "https://example.com/sql", "file:///etc", "sql"])
async def test_no_other_places_are_read(client: AdapterClient, header: UploadHeader, source: str) -> None:
    with pytest.raises(InvalidRequest, match="source: "):
        await client.import_from(source, header)
    assert await client.list(header.tenant) == ()
