"""Adapters that others may use, and as long as they may."""

from dataclasses import replace

import pytest
from grpc import StatusCode

from chorus_proto.adapters.v1 import adapters_pb2 as pb
from tests.adapter_store.support import make_upload
from tests.contracts.adapters.conftest import Client
from tests.contracts.adapters.test_store import refusal


async def test_an_adapter_is_shared_and_withdrawn(client: Client) -> None:
    published = (await client.publish(make_upload())).adapter
    friend, stranger = replace(client, tenant="friend"), replace(client, tenant="stranger")
    assert published.visibility == pb.VISIBILITY_PRIVATE
    changed = await client.share(pb.VISIBILITY_SHARED, "other", "friend", "friend", client.tenant)
    assert (changed.generation, list(changed.shared_with)) == (1, ["friend", "other"])
    found = await friend.resolve(owner=client.tenant)
    assert (found.digest, found.visibility, list(found.shared_with)) == (published.digest, pb.VISIBILITY_SHARED, [])
    usable = await friend.list(usable=True)
    assert [(each.tenant, list(each.shared_with)) for each in usable.adapters] == [(client.tenant, [])]
    missing = await refusal(stranger.resolve(owner=client.tenant, name="none"))
    hidden = await refusal(stranger.resolve(owner=client.tenant))
    assert hidden == (StatusCode.NOT_FOUND, missing[1].replace("none", "tone"))
    assert (await stranger.list(usable=True)).adapters == []

    await client.share(pb.VISIBILITY_PRIVATE)
    assert await refusal(friend.resolve(owner=client.tenant)) == hidden
    assert (await friend.list(usable=True)).adapters == []
    await client.share(pb.VISIBILITY_PUBLIC)
    assert (await stranger.resolve(owner=client.tenant)).digest == published.digest
    assert client.tenant in [each.tenant for each in (await stranger.list(usable=True)).adapters]
    await client.share(pb.VISIBILITY_PRIVATE)  # the store outlives this test


@pytest.mark.parametrize(
    ("visibility", "tenants", "words"),
    [
        (pb.VISIBILITY_UNSPECIFIED, (), "visibility: 0 is none of private"),
        (9, (), "visibility: 9 is none of private"),
        (pb.VISIBILITY_PUBLIC, ("friend",), "shared_with: only visibility 'shared' takes tenants, not 'public'"),
        (pb.VISIBILITY_SHARED, (), "shared_with: 0 tenants besides the owner are named; name 1 to 1000"),
        (pb.VISIBILITY_SHARED, ("A B",), "shared_with: 'A B' is not a name"),
        (pb.VISIBILITY_SHARED, tuple(f"t{i}" for i in range(1001)), "shared_with: 1001 tenants"),
    ],
)
async def test_a_wrong_visibility_is_refused(
    client: Client, visibility: int, tenants: tuple[str, ...], words: str
) -> None:
    await client.publish(make_upload())
    code, details = await refusal(client.share(visibility, *tenants))
    assert code == StatusCode.INVALID_ARGUMENT
    assert words in details


async def test_what_is_not_ones_own_is_not_shared(client: Client) -> None:
    await client.publish(make_upload())
    answer = await refusal(replace(client, tenant="stranger").share(pb.VISIBILITY_PUBLIC))
    assert answer == (StatusCode.NOT_FOUND, "adapter 'tone' does not exist")


async def test_a_list_of_what_is_usable_needs_a_tenant(client: Client) -> None:
    code, details = await refusal(client.list(tenant="", usable=True))
    assert (code, "tenant" in details) == (StatusCode.INVALID_ARGUMENT, True)
