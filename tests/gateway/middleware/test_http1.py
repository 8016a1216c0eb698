import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from chorus_gateway import http1
from chorus_gateway.http1 import MAX_HEAD_BYTES
from chorus_gateway.server import Server, bind

START = b"GET / HTTP/1.1\r\nHost: chorus\r\n"


async def answers(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body, then says how many headers came."""
    while (await receive()).get("more_body"):
        pass
    body = str(len(scope["headers"])).encode()
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def connection(app: ASGIApp = answers) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async def drained() -> None:
        pass

    listener, server = bind("127.0.0.1", 0), Server(app, drained)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    try:
        yield reader, writer
    finally:
        writer.close()
        server.stop()
        await serving
        listener.close()


async def answer(reader: asyncio.StreamReader) -> tuple[int, str]:
    """Status and body."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return int(head.split()[1]), (await reader.readexactly(int(length.partition(b":")[2]))).decode()


def message(body: str) -> str:
    """That of an error in OpenAI's shape."""
    error: dict[str, str | None] = json.loads(body)["error"]
    assert error["type"] == "invalid_request_error"
    return str(error["message"])


@pytest.mark.parametrize(
    "head",
    [
        START + b"X: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n",
        START + b"".join(b"X-%d: a\r\n" % i for i in range(MAX_HEAD_BYTES // 8)) + b"\r\n",
        b"GET /" + b"a" * MAX_HEAD_BYTES + b" HTTP/1.1\r\n\r\n",
    ],
    ids=["one header", "many headers", "the path"],
)
async def test_a_head_over_the_limit_is_refused(head: bytes) -> None:
    async with connection() as (reader, writer):
        writer.write(head)
        status, body = await answer(reader)
        assert status == 431
        assert str(MAX_HEAD_BYTES) in message(body)
        assert await reader.read() == b""


async def test_a_header_without_an_end_is_refused() -> None:
    async with connection() as (reader, writer):
        for part in (START, b"X: ", b"a" * MAX_HEAD_BYTES):
            writer.write(part)
            await asyncio.sleep(0.05)  # the bytes that come with a head's first ones are not counted before it ends
        status, _ = await answer(reader)
        assert status == 431


async def test_bodies_and_requests_in_a_row_do_not_count_as_a_head() -> None:
    body = b"x" * 4 * MAX_HEAD_BYTES
    request = b"POST / HTTP/1.1\r\nX: %s\r\nContent-Length: %d\r\n\r\n" % (b"a" * 40_000, len(body)) + body
    async with connection() as (reader, writer):
        writer.write(request * 3)
        assert [await answer(reader) for _ in range(3)] == [(200, "2")] * 3
        writer.write(START[:20])
        await asyncio.sleep(0.05)
        writer.write(START[20:] + b"\r\n")
        assert await answer(reader) == (200, "1")


async def test_what_is_no_http_is_told_in_openais_shape() -> None:
    async with connection() as (reader, writer):
        writer.write(b"\x16\x03\x01 hello\r\n\r\n")
        status, body = await answer(reader)
        assert status == 400
        assert "HTTP" in message(body)


@pytest.mark.parametrize("sent", [b"", START])
async def test_a_head_that_takes_too_long_is_refused(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "HEAD_SECONDS", 0.2)
    async with connection() as (reader, writer):
        writer.write(sent)
        status, body = await answer(reader)
        assert status == 408
        assert "0.2 s" in message(body)
        assert await reader.read() == b""


class Flood:
    """An application that sends without end, and hears when its client has gone."""

    def __init__(self) -> None:
        self.sent = 0
        self.gone = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        sending = asyncio.create_task(self._send(send))
        while (await receive())["type"] != "http.disconnect":
            pass
        self.gone.set()
        sending.cancel()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": True})
            self.sent += 1
            await asyncio.sleep(0)


async def test_a_client_that_takes_nothing_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "STUCK_SECONDS", 1.0)
    flood = Flood()
    async with connection(flood) as (reader, writer):
        writer.write(START + b"\r\n")
        end = asyncio.get_running_loop().time() + 1.5
        while asyncio.get_running_loop().time() < end:
            await reader.read(1 << 20)  # whoever reads stays
        assert not flood.gone.is_set()
        await asyncio.wait_for(flood.gone.wait(), 60)
        sent = flood.sent
        await asyncio.sleep(0.1)
        assert flood.sent == sent, "nothing more is made for it"
