"""The store's client against real gRPC."""

import hashlib
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest

from chorus_engine.adapters.host import FileHead
from chorus_engine.adapters.store import StoreClient
from chorus_engine.core.errors import AdapterNotFound, AdapterUnavailable
from tests.contracts.engine.support.process import TOKEN
from tests.contracts.engine.support.store import StoreDouble
from tests.engine.adapters.build import files


@pytest.fixture
def store() -> Iterator[StoreDouble]:
    store = StoreDouble(TOKEN)
    store.start()
    yield store
    store.stop()


@pytest.fixture
async def client(store: StoreDouble) -> AsyncIterator[StoreClient]:
    client = StoreClient(store.address, TOKEN)
    yield client
    await client.close()


async def test_both_files_come_whole(store: StoreDouble, client: StoreClient) -> None:
    large = files(r=4, description="x" * (3 << 20))
    digest = store.put(large)
    parts = [part async for part in client.fetch(digest, "00-trace-01")]
    assert [part.name for part in parts if isinstance(part, FileHead)] == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert b"".join(part for part in parts if isinstance(part, bytes)) == large.config + large.model
    assert store.traceparents == ["00-trace-01"]


async def test_files_are_located_by_their_own_digests(store: StoreDouble, client: StoreClient) -> None:
    both = files()
    heads = await client.locate(store.put(both))
    assert [head.sha256 for head in heads] == [hashlib.sha256(part).hexdigest() for part in (both.config, both.model)]
    assert [head.size for head in heads] == [len(both.config), len(both.model)]
    with pytest.raises(AdapterNotFound):
        await client.locate("ab" * 32)


async def test_an_unknown_digest_is_not_found(client: StoreClient) -> None:
    with pytest.raises(AdapterNotFound, match="no adapter abab"):
        await anext(client.fetch("ab" * 32))


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL])
async def test_a_store_in_trouble_is_worth_another_attempt(
    store: StoreDouble, client: StoreClient, code: grpc.StatusCode
) -> None:
    store.failures.append(code)
    with pytest.raises(AdapterUnavailable, match=f"{code.name} as the test wants"):
        await anext(client.fetch("ab" * 32))


async def test_a_store_that_is_away_is_worth_another_attempt(store: StoreDouble, client: StoreClient) -> None:
    store.stop()
    with pytest.raises(AdapterUnavailable, match=store.address):
        await anext(client.fetch("ab" * 32))


async def test_a_transfer_that_takes_too_long_ends(store: StoreDouble) -> None:
    store.gate.clear()
    client = StoreClient(store.address, TOKEN, timeout=0.2)
    with pytest.raises(AdapterUnavailable, match=r"longer than 0\.2 s"):
        await anext(client.fetch("ab" * 32))
    store.gate.set()
    await client.close()


async def test_the_wrong_token_is_told_apart(store: StoreDouble) -> None:
    client = StoreClient(store.address, "another-token-entirely")
    with pytest.raises(AdapterUnavailable, match="UNAUTHENTICATED"):
        await anext(client.fetch("ab" * 32))
    await client.close()
