"""Pins, for a store that cannot reach Redis: they are kept, and no engine holds them yet."""

import grpc
import pytest

from chorus_proto.adapters.v1 import adapters_pb2 as pb
from tests.adapter_store.support import make_upload
from tests.contracts.adapters.conftest import Client


async def set_pin(client: Client, name: str = "tone", **fields: object) -> pb.Pin:
    request = pb.SetPinRequest(**{"tenant": client.tenant, "name": name, **fields})  # type: ignore[arg-type]  # mixed field types
    return (await client.stub.SetPin(request, metadata=client.metadata)).pin


async def list_pins(client: Client, tenant: str | None = None) -> list[pb.Pin]:
    request = pb.ListPinsRequest(tenant=client.tenant if tenant is None else tenant)
    return list((await client.stub.ListPins(request, metadata=client.metadata)).pins)


async def refusal(client: Client, **fields: object) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await set_pin(client, **fields)  # type: ignore[arg-type]  # mixed field types
    return refused.value.code(), refused.value.details() or ""


async def test_a_pin_is_kept_with_its_defaults_and_replaced(client: Client) -> None:
    await client.publish(make_upload())
    first = await set_pin(client)
    assert first == pb.Pin(tenant=client.tenant, name="tone", version="latest", tier=pb.TIER_GPU, engines=0, held=0)
    second = await set_pin(client, version="001", tier=pb.TIER_HOST, engines=2)
    assert second == pb.Pin(tenant=client.tenant, name="tone", version="1", tier=pb.TIER_HOST, engines=2, held=0)
    assert await list_pins(client) == [second]


async def test_pins_are_listed_by_owner_and_name(client: Client) -> None:
    for name in ("b", "a", "c"):
        await client.publish(make_upload(), name=name)
        await set_pin(client, name)
    assert [pin.name for pin in await list_pins(client)] == ["a", "b", "c"]
    everyone = [(pin.tenant, pin.name) for pin in await list_pins(client, "")]
    assert everyone == sorted(everyone)
    assert (client.tenant, "a") in everyone


async def test_what_cannot_be_pinned_is_refused_with_the_reason(client: Client) -> None:
    await client.publish(make_upload())
    assert await refusal(client, name="other") == (grpc.StatusCode.NOT_FOUND, "adapter 'other' does not exist")
    assert await refusal(client, version="prod") == (
        grpc.StatusCode.NOT_FOUND,
        "adapter 'tone' has no version 'prod'; it has 1, latest",
    )
    assert await refusal(client, name="No Name") == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "name: 'No Name' is not a name: use 1 to 64 of a-z 0-9 . _ -, beginning with a letter or digit",
    )
    assert await refusal(client, tier=9) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "tier: 9 is neither host memory (1) nor slots (2)",
    )
    assert await refusal(client, engines=1001) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "engines: 1001 is over 1000; 0 is all",
    )
    assert await list_pins(client) == []


async def test_a_pin_is_removed_once(client: Client) -> None:
    await client.publish(make_upload())
    await set_pin(client)
    request = pb.RemovePinRequest(tenant=client.tenant, name="tone")
    await client.stub.RemovePin(request, metadata=client.metadata)
    assert await list_pins(client) == []
    with pytest.raises(grpc.aio.AioRpcError, match="adapter 'tone' is not pinned") as refused:
        await client.stub.RemovePin(request, metadata=client.metadata)
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND


async def test_a_pin_goes_with_its_adapter_and_comes_back_with_it(client: Client) -> None:
    await client.publish(make_upload())
    pin = await set_pin(client)
    await client.delete()
    assert await list_pins(client) == []
    await client.restore()
    assert await list_pins(client) == [pin]


async def test_engines_cannot_be_shown_without_redis(client: Client) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.stub.ListEngines(pb.ListEnginesRequest(), metadata=client.metadata)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    assert refused.value.details() == "Redis, which knows the engines, did not answer; try again later"
