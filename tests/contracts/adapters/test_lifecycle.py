"""Generations that leave use and come back, and what is told of it."""

from dataclasses import replace

from grpc import StatusCode

from chorus_proto.adapters.v1 import adapters_pb2 as pb
from tests.adapter_store.support import make_upload
from tests.contracts.adapters.conftest import Client
from tests.contracts.adapters.test_store import refusal

PASSED = [(1, pb.STATE_PUBLISHED, ""), (1, pb.STATE_VALIDATED, ""), (1, pb.STATE_UPLOADED, "")]


async def test_a_generation_is_retired_deleted_and_restored(client: Client) -> None:
    published = (await client.publish(make_upload())).adapter
    assert published.state == pb.STATE_PUBLISHED
    retired = await client.retire(1, "leaks names")
    assert (retired.state, retired.reason) == (pb.STATE_RETIRED, "leaks names")
    assert (await refusal(client.resolve()))[0] == StatusCode.NOT_FOUND
    assert (await refusal(client.resolve(version="1")))[1] == "generation 1 of adapter 'tone' is retired: 'leaks names'"
    assert len(await client.fetch(published.digest)) == 4
    assert [each.state for each in (await client.list()).adapters] == [pb.STATE_RETIRED]
    assert (await client.list(usable=True)).adapters == []
    assert await client.restore(1) == 1
    assert await client.resolve() == published
    assert await client.delete(reason="by mistake") == 1
    assert (await client.list()).adapters == []
    (deleted,) = (await client.list(deleted=True)).adapters
    assert (deleted.state, deleted.reason) == (pb.STATE_DELETED, "by mistake")
    assert await client.restore() == 1
    assert await client.resolve() == published
    assert await client.history() == [
        (1, pb.STATE_PUBLISHED, ""),
        (1, pb.STATE_DELETED, "by mistake"),
        (1, pb.STATE_PUBLISHED, ""),
        (1, pb.STATE_RETIRED, "leaks names"),
        *PASSED,
    ]


async def test_a_refused_upload_is_in_the_history_with_its_reason(client: Client) -> None:
    _, details = await refusal(client.publish(make_upload("q_proj", rank=17)))
    _, unknown = await refusal(client.publish(make_upload(), model="unseen"))
    await client.publish(make_upload())
    assert await client.history() == [*PASSED, (0, pb.STATE_REFUSED, unknown), (0, pb.STATE_REFUSED, details)]
    assert "r is 17" in details


async def test_what_cannot_be_done_is_said(client: Client) -> None:
    await client.publish(make_upload())
    await client.set_alias("prod", 1)
    code, details = await refusal(client.retire(1))
    assert (code, "still named by prod" in details) == (StatusCode.FAILED_PRECONDITION, True)
    assert (await refusal(client.retire(9)))[0] == StatusCode.NOT_FOUND
    assert (await refusal(client.restore(1)))[0] == StatusCode.NOT_FOUND
    for call in (client.retire(1, "x" * 501), client.delete(1, reason="a\nb")):
        code, details = await refusal(call)
        assert (code, details.startswith("reason: ")) == (StatusCode.INVALID_ARGUMENT, True)
    stranger = replace(client, tenant="stranger")
    for call in (stranger.retire(1), stranger.restore()):
        assert await refusal(call) == (StatusCode.NOT_FOUND, "adapter 'tone' does not exist")
    assert await stranger.history() == []
