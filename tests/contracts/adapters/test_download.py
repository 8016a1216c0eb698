"""What a generation is and was made of, for whoever wants it back."""

from dataclasses import replace

from grpc import StatusCode

from chorus_adapter_store.values import CONFIG_FILE, WEIGHTS_FILE
from chorus_proto.adapters.v1 import adapters_pb2 as pb
from tests.adapter_store.support import make_upload
from tests.contracts.adapters.conftest import Client
from tests.contracts.adapters.test_store import refusal


async def test_one_file_of_a_digest_is_fetched(client: Client) -> None:
    upload = make_upload()
    digest = (await client.publish(upload)).adapter.digest
    for name, content in ((CONFIG_FILE, upload.config_bytes), (WEIGHTS_FILE, upload.weights_bytes)):
        begin, *rest = await client.fetch(digest, name)
        assert (begin.begin.file, b"".join(part.data for part in rest)) == (name, content)
    code, details = await refusal(client.fetch(digest, "../x"))
    assert (code, details.startswith("file: '../x' is no file")) == (StatusCode.INVALID_ARGUMENT, True)


async def test_a_generation_is_told_of_whatever_its_state(client: Client) -> None:
    published = (await client.publish(make_upload())).adapter
    assert await client.get(1) == published
    await client.retire(1)
    assert (await client.get(1)).state == pb.STATE_RETIRED
    await client.delete()
    assert (await client.get(1)).state == pb.STATE_DELETED
    for generation in (0, 2, 2**32 - 1):
        assert (await refusal(client.get(generation)))[0] == StatusCode.NOT_FOUND
    assert (await refusal(replace(client, tenant="stranger").get(1)))[0] == StatusCode.NOT_FOUND
