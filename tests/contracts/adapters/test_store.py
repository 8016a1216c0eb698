"""What adapters.proto promises."""

import asyncio
import hashlib
import pickle
from collections.abc import AsyncIterator
from dataclasses import replace

import grpc
import numpy as np
import pytest
from grpc import StatusCode

from chorus_adapter_store.values import CONFIG_FILE, WEIGHTS_FILE, adapter_digest
from chorus_proto.adapters.v1 import adapters_pb2 as pb
from tests.adapter_store.support import Upload, make_upload
from tests.contracts.adapters.conftest import CHUNK, COMMIT, WIDE, Client, chunk, chunks

PICKLE = pickle.dumps({"weights": [1.0] * 100})


async def refusal(call: "asyncio.Future[object] | object") -> tuple[StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]  # any awaitable
    return caught.value.code(), caught.value.details() or ""


async def test_what_was_published_is_resolved_and_fetched_byte_for_byte(client: Client) -> None:
    upload = make_upload("q_proj", rank=16, base=WIDE, dtype=np.float16)
    assert len(upload.weights_bytes) > CHUNK
    answer = await client.publish(upload, model="wide")
    adapter = answer.adapter
    assert answer.created
    assert (adapter.tenant, adapter.name, adapter.model, adapter.generation) == (client.tenant, "tone", "wide", 1)
    assert (adapter.rank, list(adapter.aliases)) == (16, ["latest"])
    assert list(adapter.modules) == ["layers.0.self_attn.q_proj", "layers.1.self_attn.q_proj"]
    assert adapter.size == len(upload.config_bytes) + len(upload.weights_bytes)
    assert await client.resolve(model="wide") == adapter

    files: dict[str, bytes] = {}
    begun: list[pb.FileBegin] = []
    for part in await client.fetch(adapter.digest):
        if part.WhichOneof("part") == "begin":
            begun.append(part.begin)
            files[part.begin.file] = b""
        else:
            assert len(part.data) <= CHUNK
            files[begun[-1].file] += part.data
    assert files == {CONFIG_FILE: upload.config_bytes, WEIGHTS_FILE: upload.weights_bytes}
    for begin in begun:
        assert begin.size == len(files[begin.file])
        assert begin.sha256 == hashlib.sha256(files[begin.file]).hexdigest()
    assert adapter.digest == adapter_digest(begun[0].sha256, begun[1].sha256)


async def test_the_same_bytes_again_are_the_same_generation(client: Client) -> None:
    first = await client.publish(make_upload())
    again = await client.publish(make_upload())
    assert (first.created, again.created) == (True, False)
    assert again.adapter == first.adapter


async def test_files_may_come_in_either_order_and_any_chunks(client: Client) -> None:
    upload = make_upload()
    content = upload.weights_bytes
    parts = [chunk(WEIGHTS_FILE, content[at : at + 1000]) for at in range(0, len(content), 1000)]
    await client.send(client.header(), *parts, chunk(CONFIG_FILE, upload.config_bytes), COMMIT)
    assert not (await client.publish(upload)).created


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"tenant": "Acme Inc"}, StatusCode.INVALID_ARGUMENT, "tenant: 'Acme Inc' is not a name"),
        ({"name": "../../etc"}, StatusCode.INVALID_ARGUMENT, "name: '../../etc' is not a name"),
        ({"name": "x" * 65}, StatusCode.INVALID_ARGUMENT, "use 1 to 64 of a-z 0-9"),
        ({"name": ""}, StatusCode.INVALID_ARGUMENT, "name: '' is not a name"),
        ({"model": ""}, StatusCode.INVALID_ARGUMENT, "model: '' is not a base model's name"),
        ({"model": "a\0b"}, StatusCode.INVALID_ARGUMENT, "is not a base model's name"),
        ({"model": "unseen"}, StatusCode.FAILED_PRECONDITION, "no engine has served base 'unseen'"),
    ],
)
async def test_a_wrong_header_is_refused(client: Client, changes: dict[str, str], code: StatusCode, words: str) -> None:
    found, details = await refusal(client.publish(make_upload(), **changes))
    assert found == code
    assert words in details


@pytest.mark.parametrize(
    ("upload", "words"),
    [
        (make_upload("q_proj", rank=17), "r is 17: the largest rank allowed is 16"),
        (make_upload().with_config(r=8), "has rank 4, but adapter_config.json gives this module rank 8"),
        (make_upload(base=replace(WIDE, num_layers=2)), "the base needs [4, 32]"),
        (make_upload().with_config(target_modules=["c_attn"]), "'c_attn', which is no module of base 'demo'"),
        (make_upload().with_config(target_modules="none.*"), "matches no module of base 'demo'"),
        (make_upload().with_config(use_dora=True), "use_dora is True: DoRA is not supported"),
        (
            make_upload().with_tensors(layers__0__self_attn__q_proj__lora_A__weight=np.full((4, 32), np.nan, "f4")),
            "has a NaN or an infinity at element 0",
        ),
        (make_upload().with_tensors(layers__1__self_attn__v_proj__lora_B__weight=None), "has no lora_B"),
    ],
)
async def test_a_bad_adapter_is_refused_and_leaves_no_trace(client: Client, upload: Upload, words: str) -> None:
    code, details = await refusal(client.publish(upload))
    assert code == StatusCode.INVALID_ARGUMENT
    assert words in details
    assert (await client.list()).adapters == []


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (PICKLE, "adapter_model.safetensors: this is a pickle file"),
        (b"PK\x03\x04" + bytes(100), "this is a zip file"),
        (make_upload().weights_bytes[:-10], "cut off"),
        (make_upload().weights_bytes + PICKLE, "bytes follow the last tensor"),
        (b"", "the file is empty"),
    ],
)
async def test_a_bad_weights_file_is_refused(client: Client, weights: bytes, words: str) -> None:
    config = chunk(CONFIG_FILE, make_upload().config_bytes)
    code, details = await refusal(client.send(client.header(), config, chunk(WEIGHTS_FILE, weights), COMMIT))
    assert code == StatusCode.INVALID_ARGUMENT
    assert words in details


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ("config", "header: the first message"),
        ("", "header: the first message"),
        ("header header", "part: header where a chunk or a commit was expected"),
        ("header nothing", "part: nothing where"),
        ("header config weights", "commit: the upload ended without it"),
        ("header commit", "adapter_config.json: the upload has no such file"),
        ("header config commit", "adapter_model.safetensors: the upload has no such file"),
        ("header config weights config commit", "adapter_config.json: its chunks must come together"),
        ("header other commit", "'../pickle.bin' is not a file of an adapter"),
        ("header large commit", "more than the 1048576 allowed"),
    ],
)
async def test_messages_out_of_order_are_refused(client: Client, order: str, words: str) -> None:
    upload = make_upload()
    messages = {
        "header": client.header(),
        "config": chunk(CONFIG_FILE, upload.config_bytes),
        "weights": chunk(WEIGHTS_FILE, upload.weights_bytes),
        "commit": COMMIT,
        "nothing": pb.PublishRequest(),
        "other": chunk("../pickle.bin", b"x"),
        "large": chunk(WEIGHTS_FILE, bytes(CHUNK + 1)),
    }
    code, details = await refusal(client.send(*(messages[each] for each in order.split())))
    assert code == StatusCode.INVALID_ARGUMENT
    assert words in details
    assert (await client.list()).adapters == []


@pytest.mark.parametrize(("file", "limit"), [(WEIGHTS_FILE, 4 << 20), (CONFIG_FILE, 1 << 20)])
async def test_a_file_that_is_too_large_is_refused_while_it_comes(client: Client, file: str, limit: int) -> None:
    parts = [chunk(file, bytes(CHUNK)) for _ in range(6)]
    code, details = await refusal(client.send(client.header(), *parts, COMMIT))
    assert code == StatusCode.RESOURCE_EXHAUSTED
    assert details == f"{file}: the file has more than the {limit} bytes allowed"


async def test_an_upload_that_pauses_is_ended(client: Client) -> None:
    async def stall() -> AsyncIterator[pb.PublishRequest]:
        yield client.header()
        await asyncio.sleep(3600)

    code, details = await refusal(client.stub.Publish(stall(), metadata=client.metadata))
    assert code == StatusCode.DEADLINE_EXCEEDED
    assert "paused for more than 1 s" in details


async def test_an_upload_that_is_cancelled_is_not_there(client: Client) -> None:
    sent = asyncio.Event()

    async def half() -> AsyncIterator[pb.PublishRequest]:
        for message in (client.header(), *chunks(make_upload())):
            yield message
        sent.set()
        await asyncio.sleep(3600)

    call = client.stub.Publish(half(), metadata=client.metadata)
    await asyncio.wait_for(sent.wait(), 60)
    call.cancel()
    assert (await client.list()).adapters == []
    assert (await client.publish(make_upload())).adapter.generation == 1


async def test_another_tenants_adapter_is_as_one_that_does_not_exist(client: Client) -> None:
    adapter = (await client.publish(make_upload())).adapter
    stranger = replace(client, tenant="stranger")
    answers = {
        await refusal(stranger.resolve(name=name, version=version, owner=client.tenant, model=model))
        for name in ("tone",)
        for version in ("", "1", "2", "latest", "prod")
        for model in ("demo", "wide", "")
    }
    missing = await refusal(stranger.resolve(name="none", owner=client.tenant))
    assert answers == {(StatusCode.NOT_FOUND, missing[1].replace("none", "tone"))}
    assert await refusal(stranger.resolve()) == (StatusCode.NOT_FOUND, "adapter 'tone' does not exist")
    for call in (stranger.delete(), stranger.set_alias("prod", 1)):
        assert await refusal(call) == (StatusCode.NOT_FOUND, "adapter 'tone' does not exist")
    assert await client.resolve(owner=client.tenant) == adapter


async def test_a_wrong_version_or_base_is_told_to_the_owner(client: Client) -> None:
    await client.publish(make_upload())
    assert "has no version 'prod'; it has 1, latest" in (await refusal(client.resolve(version="prod")))[1]
    assert "is for base 'demo', not 'wide'" in (await refusal(client.resolve(model="wide")))[1]
    assert await refusal(client.resolve(name="A\0B")) == (
        StatusCode.NOT_FOUND,
        "adapter 'A\\x00B' does not exist",
    )
    code, details = await refusal(client.publish(make_upload("q_proj", base=WIDE), model="wide"))
    assert code == StatusCode.INVALID_ARGUMENT
    assert "model: adapter 'tone' is for base 'demo', not 'wide'" in details


async def test_aliases_promote_and_roll_back(client: Client) -> None:
    await client.publish(make_upload(seed=1))
    await client.publish(make_upload(seed=2))
    assert (await client.set_alias("prod", 1)).generation == 1
    assert (await client.resolve(version="prod")).generation == 1
    assert (await client.resolve()).generation == 2
    assert (await client.set_alias("latest", 1)).generation == 1
    assert (await client.resolve()).generation == 1
    assert list((await client.set_alias("prod", 0)).aliases) == ["latest"]
    assert (await refusal(client.resolve(version="prod")))[0] == StatusCode.NOT_FOUND
    for alias, generation, code in (
        ("7", 1, StatusCode.INVALID_ARGUMENT),
        ("Prod", 1, StatusCode.INVALID_ARGUMENT),
        ("latest", 0, StatusCode.INVALID_ARGUMENT),
        ("prod", 9, StatusCode.NOT_FOUND),
        ("prod", 2**32 - 1, StatusCode.NOT_FOUND),
    ):
        assert (await refusal(client.set_alias(alias, generation)))[0] == code


async def test_a_deleted_generation_is_unnamed_but_still_fetched(client: Client) -> None:
    first = (await client.publish(make_upload(seed=1))).adapter
    await client.publish(make_upload(seed=2))
    await client.set_alias("prod", 1)
    code, details = await refusal(client.delete(1))
    assert (code, "still named by prod" in details) == (StatusCode.FAILED_PRECONDITION, True)
    assert await client.delete() == 2
    assert (await refusal(client.resolve()))[0] == StatusCode.NOT_FOUND
    assert (await refusal(client.delete()))[0] == StatusCode.NOT_FOUND
    assert len(await client.fetch(first.digest)) == 4
    assert (await client.publish(make_upload(seed=1))).adapter.generation == 3


@pytest.mark.parametrize(
    ("digest", "code"),
    [("0" * 64, StatusCode.NOT_FOUND), ("A" * 64, StatusCode.INVALID_ARGUMENT), ("../x", StatusCode.INVALID_ARGUMENT)],
)
async def test_an_unknown_digest_is_not_fetched(client: Client, digest: str, code: StatusCode) -> None:
    assert (await refusal(client.fetch(digest)))[0] == code


async def test_pages_follow_one_another(client: Client) -> None:
    for name in ("b", "a"):
        for seed in (1, 2):
            await client.publish(make_upload(seed=seed), name=name)
    seen: list[tuple[str, int]] = []
    token = ""
    while True:
        page = await client.list(page_size=1, page_token=token)
        seen += [(each.name, each.generation) for each in page.adapters]
        token = page.next_page_token
        if not token:
            break
    assert seen == [("a", 2), ("a", 1), ("b", 2), ("b", 1)]
    assert [each.name for each in (await client.list()).adapters] == ["a", "a", "b", "b"]
    assert {each.tenant for each in (await client.list(tenant="")).adapters} >= {client.tenant}
    assert (await refusal(client.list(page_token="?")))[0] == StatusCode.INVALID_ARGUMENT
