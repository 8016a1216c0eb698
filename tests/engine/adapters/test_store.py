"""The store's client against real gRPC."""

from collections.abc import AsyncIterator, Iterator

import grpc
import pytest

from chorus_engine.adapters import StoreClient
from chorus_engine.core.errors import AdapterNotFound, AdapterUnavailable, AdapterUnusable
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
    client = StoreClient(store.address, TOKEN, max_bytes=1 << 22)
    yield client
    await client.close()


async def test_both_files_come_whole(store: StoreDouble, client: StoreClient) -> None:
    large = files(r=4, description="x" * (3 << 20))
    digest = store.put(large)
    assert await client.fetch(digest, "00-trace-01") == large
    assert store.traceparents == ["00-trace-01"]


async def test_an_unknown_digest_is_not_found(client: StoreClient) -> None:
    with pytest.raises(AdapterNotFound, match="no adapter abab"):
        await client.fetch("ab" * 32)


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL])
async def test_a_store_in_trouble_is_worth_another_attempt(
    store: StoreDouble, client: StoreClient, code: grpc.StatusCode
) -> None:
    store.failures.append(code)
    with pytest.raises(AdapterUnavailable, match=f"{code.name} as the test wants"):
        await client.fetch("ab" * 32)


async def test_a_store_that_is_away_is_worth_another_attempt(store: StoreDouble, client: StoreClient) -> None:
    store.stop()
    with pytest.raises(AdapterUnavailable, match=store.address):
        await client.fetch("ab" * 32)


async def test_a_transfer_that_takes_too_long_ends(store: StoreDouble) -> None:
    store.gate.clear()
    client = StoreClient(store.address, TOKEN, max_bytes=1 << 20, timeout=0.2)
    with pytest.raises(AdapterUnavailable, match=r"longer than 0\.2 s"):
        await client.fetch("ab" * 32)
    store.gate.set()
    await client.close()


async def test_an_adapter_larger_than_host_memory_is_refused_before_it_comes(store: StoreDouble) -> None:
    digest = store.put(files())
    client = StoreClient(store.address, TOKEN, max_bytes=100)
    with pytest.raises(AdapterUnusable, match=r"at most 100 \(CHORUS_HOST_ADAPTER_MEMORY\)"):
        await client.fetch(digest)
    await client.close()


async def test_the_wrong_token_is_told_apart(store: StoreDouble) -> None:
    client = StoreClient(store.address, "another-token-entirely", max_bytes=100)
    with pytest.raises(AdapterUnavailable, match="UNAUTHENTICATED"):
        await client.fetch("ab" * 32)
    await client.close()
