"""A bucket that is away, hangs, refuses or points elsewhere: Unavailable, soon, and nobody else is asked."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from chorus_adapter_store.blobs.bucket import Bucket
from chorus_adapter_store.errors import Unavailable
from tests.adapter_store.s3 import S3Server

Answer = Callable[[], bytes | None]  # None: never


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Its URL, and the first lines of the requests that it got."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        reply = answer()
        if reply is None:
            await reader.read()
        else:
            writer.write(reply)
            await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()
    async with listening:
        yield f"http://{host}:{port}", asked


@asynccontextmanager
async def bucket(url: str) -> AsyncIterator[Bucket]:
    made = Bucket(url, patience=0.5)
    yield made
    await made.close()


@pytest.fixture(autouse=True)
def _credentials(s3: S3Server) -> None:
    assert s3.url


async def asked_all(tested: Bucket) -> list[object]:
    found: list[object] = await asyncio.gather(
        tested.find("bucket/key"),
        anext(tested.read("bucket/key")),
        tested.names("bucket/folder"),
        tested.remove("bucket/key"),
        return_exceptions=True,
    )
    return found


@pytest.mark.parametrize(
    "reply",
    [
        None,
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)
async def test_a_server_that_is_no_help_is_unavailable_within_bounded_time(reply: bytes | None) -> None:
    async with asyncio.timeout(60), server(lambda: reply) as (url, _), bucket(url) as tested:
        found = await asked_all(tested)
    assert all(isinstance(each, Unavailable) for each in found), found
    assert all("the bucket 'bucket' cannot be used (" in str(each) for each in found)


async def test_nobody_there_is_unavailable() -> None:
    async with bucket("http://127.0.0.1:1") as tested:
        assert {type(each) for each in await asked_all(tested)} == {Unavailable}


@pytest.mark.parametrize("status", [b"301 Moved", b"302 Found", b"307 Temporary Redirect", b"308 Permanent Redirect"])
async def test_it_follows_to_no_other_address(status: bytes) -> None:
    async with server(lambda: b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil") as (other, others):
        reply = b"HTTP/1.1 %b\r\nLocation: %b/x\r\nContent-Length: 0\r\n\r\n" % (status, other.encode())
        async with server(lambda: reply) as (url, asked), bucket(url) as tested:
            found = await asked_all(tested)
    assert asked
    assert others == []
    assert all(isinstance(each, Unavailable) for each in found), found


async def test_a_body_that_ends_early_is_unavailable() -> None:
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nETag: x\r\n\r\nshort"
    async with server(lambda: reply) as (url, _), bucket(url) as tested:
        with pytest.raises(Unavailable):
            [chunk async for chunk in tested.read("bucket/key")]
