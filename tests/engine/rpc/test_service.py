"""The service over a real wire: what a fake engine shows better than a real one."""

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from chorus_engine.core.errors import StartError
from chorus_engine.core.request import Output, SampledToken
from chorus_engine.rpc import create_server, read_bundle
from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.contracts.engine.support.gateway import METADATA, open_channel, submit
from tests.engine.rpc.fakes import BUSY, Bench, make_service, serve


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tokenizer.json").write_text("{}")
    return tmp_path


async def test_a_tokenizer_of_20_mb_comes_in_chunks(folder: Path) -> None:
    (folder / "tokenizer.json").write_bytes(b"0123456789" * (2 << 20))
    (folder / "tokenizer_config.json").write_text('{"a": 1}')
    (folder / "vocab.txt").write_text("not part of the bundle")
    bench = Bench()
    async with serve(bench.sessions, folder) as address, open_channel(address) as stub:
        digest = (await stub.Describe(pb.DescribeRequest(), metadata=METADATA)).tokenizer_digest
        call = stub.FetchTokenizer(pb.FetchTokenizerRequest(digest=digest), metadata=METADATA)
        chunks = [chunk.data async for chunk in call]
    assert max(map(len, chunks)) <= 1 << 20
    data = b"".join(chunks)
    assert hashlib.sha256(data).hexdigest() == digest
    files = {file.name: file.content for file in pb.TokenizerBundle.FromString(data).files}
    assert files == {
        "tokenizer.json": (folder / "tokenizer.json").read_bytes(),
        "tokenizer_config.json": b'{"a": 1}',
    }


def test_a_checkpoint_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"has no tokenizer\.json"):
        read_bundle(tmp_path)


def test_the_bundles_digest_follows_its_files(folder: Path) -> None:
    first = read_bundle(folder).digest
    assert read_bundle(folder).digest == first
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert read_bundle(folder).digest != first


async def test_a_stream_that_is_not_read_ends_with_resource_exhausted(folder: Path) -> None:
    bench = Bench(outbox_bytes=1 << 16)
    async with serve(bench.sessions, folder) as address, open_channel(address) as stub:
        call = stub.Session(metadata=METADATA)
        await call.write(pb.GatewayFrame(hello=pb.Hello(worker_id="slow"), head=pb.Head(waiting=1)))
        while not (await call.read()).credits:  # the first frame tells of adapters and may come before
            pass
        await call.write(pb.GatewayFrame(submits=[submit("a")]))
        await _until(lambda: bench.engine.submitted)
        output = Output(bench.engine.submitted[0].id, tuple(SampledToken(token_id) for token_id in range(10_000)))
        while not bench.engine.cancelled:
            bench.sessions.deliver((output,), BUSY)
            await asyncio.sleep(0.001)  # the writer writes what gRPC takes
        with pytest.raises(grpc.aio.AioRpcError, match="always read") as caught:
            await _read_to_the_end(call)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert bench.engine.cancelled == [bench.engine.submitted[0].id]


async def _read_to_the_end(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def _until(condition: Callable[[], object]) -> None:
    for _ in range(6000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to be")


async def test_a_lost_connection_closes_its_stream(folder: Path) -> None:
    bench = Bench()
    async with serve(bench.sessions, folder) as address:
        async with open_channel(address) as stub:
            call = stub.Session(metadata=METADATA)
            await call.write(pb.GatewayFrame(hello=pb.Hello(worker_id="w"), head=pb.Head(waiting=1)))
            await call.read()
            await call.write(pb.GatewayFrame(submits=[submit("a")]))
            await _until(lambda: bench.engine.submitted)
        await _until(lambda: bench.engine.cancelled)
    assert bench.engine.cancelled == [bench.engine.submitted[0].id]


async def test_a_busy_port_is_one_sentence(folder: Path) -> None:
    bench = Bench()
    async with serve(bench.sessions, folder) as address:
        with pytest.raises(StartError, match=f"cannot listen on {address}.*CHORUS_ENGINE_PORT"):
            create_server(make_service(bench.sessions, folder), address=address, token="x" * 16)
