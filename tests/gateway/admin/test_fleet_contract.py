"""What the gateway relies on in an adapter store about where adapters are: the real one and its double."""

import itertools
from collections.abc import AsyncIterator

import grpc.aio
import pytest

from chorus_gateway.adapters import Adapter, AdapterClient, Engine, Pin, Resident, Tier, UploadHeader
from chorus_gateway.errors import NotFound
from tests.adapter_store.support import BASE, make_upload
from tests.gateway.admin.conftest import Announce
from tests.gateway.support.fake_store import TOKEN

_tenants = itertools.count()


@pytest.fixture
def tenant() -> str:
    """The real store lives longer than a test."""
    return f"fleet-{next(_tenants)}"


@pytest.fixture
async def client(store_address: str) -> AsyncIterator[AdapterClient]:
    async with grpc.aio.insecure_channel(store_address) as channel:
        yield AdapterClient(channel, token=TOKEN)


async def publish(client: AdapterClient, tenant: str, name: str = "sql", seed: int = 0) -> Adapter:
    async def files() -> AsyncIterator[tuple[str, bytes]]:
        upload = make_upload(seed=seed)
        yield "adapter_config.json", upload.config_bytes
        yield "adapter_model.safetensors", upload.weights_bytes

    return (await client.publish(UploadHeader(tenant, name, BASE.name), files())).adapter


async def test_a_pin_is_set_replaced_and_removed(client: AdapterClient, tenant: str) -> None:
    await publish(client, tenant)
    await publish(client, tenant, name="chat")
    pinned = await client.fleet.set_pin(tenant, "sql", version="", tier=Tier.GPU, engines=0)
    assert pinned == Pin(tenant, "sql", "latest", Tier.GPU, engines=0, held=0)
    pinned = await client.fleet.set_pin(tenant, "sql", version="1", tier=Tier.HOST, engines=2)
    assert pinned == Pin(tenant, "sql", "1", Tier.HOST, engines=2, held=0)
    other = await client.fleet.set_pin(tenant, "chat", version="latest", tier=Tier.GPU, engines=1)
    assert await client.fleet.pins(tenant) == (other, pinned)
    assert {pinned, other} <= set(await client.fleet.pins())
    assert await client.fleet.pin(tenant, "sql") == pinned
    await client.fleet.remove_pin(tenant, "sql")
    assert await client.fleet.pins(tenant) == (other,)
    for refused in (client.fleet.remove_pin(tenant, "sql"), client.fleet.pin(tenant, "sql")):
        with pytest.raises(NotFound, match="sql"):
            await refused


async def test_what_is_not_there_is_not_pinned(client: AdapterClient, tenant: str) -> None:
    await publish(client, tenant)
    for name, version in (("none", ""), ("sql", "2"), ("sql", "prod")):
        with pytest.raises(NotFound):
            await client.fleet.set_pin(tenant, name, version=version, tier=Tier.GPU, engines=0)
    assert await client.fleet.pins(tenant) == ()


def engine(engine_id: str, *residents: Resident, draining: bool = False, stalled: bool = False) -> Engine:
    return Engine(
        engine_id=engine_id,
        address=f"{engine_id}:8001",
        model=BASE.name,
        draining=draining,
        stalled=stalled,
        started_at=1_700_000_000.5,
        slots=8,
        free_slots=3,
        host_bytes=1000,
        host_bytes_free=400,
        residents=residents,
    )


async def test_engines_are_shown_with_what_they_hold(client: AdapterClient, tenant: str, announce: Announce) -> None:
    adapter = await publish(client, tenant)
    other = "e" * 64
    first = engine(
        "e1",
        Resident(adapter.digest, Tier.GPU, "ready", 2, pinned=True, last_use=1_700_000_001.5),
        Resident(other, Tier.HOST, "loading", 0, pinned=False, last_use=0),
    )
    second = engine("e2", Resident(other, Tier.GPU, "draining", 1, pinned=False, last_use=1_700_000_002), stalled=True)
    third = engine("e3", draining=True)
    assert await client.fleet.engines() == ()
    await announce(first, second, third)
    found = await client.fleet.engines()
    assert [by_digest(each) for each in found] == [by_digest(each) for each in (first, second, third)]
    assert [each.engine_id for each in await client.fleet.engines(adapter.digest)] == ["e1"]
    assert [each.engine_id for each in await client.fleet.engines(other)] == ["e1", "e2"]
    assert await client.fleet.engines("f" * 64) == ()


def by_digest(engine: Engine) -> tuple[object, ...]:
    """In no order but that."""
    held = sorted(engine.residents, key=lambda each: each.digest)
    return engine.engine_id, engine.address, engine.draining, engine.stalled, engine.started_at, engine.slots, held


async def test_a_pin_counts_the_engines_that_have_it(client: AdapterClient, tenant: str, announce: Announce) -> None:
    adapter = await publish(client, tenant)
    in_slot = Resident(adapter.digest, Tier.GPU, "ready", 0, pinned=True, last_use=0)
    in_host = Resident(adapter.digest, Tier.HOST, "ready", 0, pinned=True, last_use=0)
    unpinned = Resident(adapter.digest, Tier.GPU, "ready", 0, pinned=False, last_use=0)
    await client.fleet.set_pin(tenant, "sql", version="", tier=Tier.GPU, engines=1)
    await announce(engine("e1", in_slot), engine("e2", in_slot), engine("e3", in_host), engine("e4", unpinned))
    assert (await client.fleet.pin(tenant, "sql")).held == 2
    await announce()
    assert (await client.fleet.pin(tenant, "sql")).held == 0
