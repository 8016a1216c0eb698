"""Quotas that come with the call."""

import pytest
from grpc import StatusCode

from chorus_proto.adapters.v1 import adapters_pb2 as pb
from tests.adapter_store.support import make_upload
from tests.contracts.adapters.conftest import Client
from tests.contracts.adapters.test_store import refusal


@pytest.mark.parametrize(
    ("quota", "words"),
    [
        (pb.Quota(adapters=1), "would have 2 adapters, more than the 1 allowed"),
        (pb.Quota(bytes=100), "are more than the 100 allowed"),
        (pb.Quota(rank=3), "the adapter has rank 4, more than the 3 that tenant"),
    ],
)
async def test_an_upload_over_a_quota_is_refused_and_in_the_history(
    client: Client, quota: pb.Quota, words: str
) -> None:
    await client.publish(make_upload())
    code, details = await refusal(client.publish_within(quota, make_upload(seed=1), name="other"))
    assert code == StatusCode.OUT_OF_RANGE
    assert words in details
    assert [each.name for each in (await client.list()).adapters] == ["tone"]
    assert await client.history("other") == [(0, pb.STATE_REFUSED, details)]
    enough = pb.Quota(adapters=2, bytes=1 << 20, rank=4)
    assert (await client.publish_within(enough, make_upload(seed=1), name="other")).created


async def test_a_restoration_over_a_quota_is_refused(client: Client) -> None:
    await client.publish(make_upload())
    await client.delete()
    await client.publish(make_upload(), name="other")
    code, details = await refusal(client.restore(quota=pb.Quota(adapters=1)))
    assert (code, "would have 2 adapters" in details) == (StatusCode.OUT_OF_RANGE, True)
    assert await client.restore(quota=pb.Quota(adapters=2)) == 1
