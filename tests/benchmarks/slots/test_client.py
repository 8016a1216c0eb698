"""The measuring client against a server of the test's own."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from benchmarks.slots.client import Client

HEAD = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
ERROR = {"error": {"message": "gone", "type": "x", "param": None, "code": None}}


def event(names: list[str] | None) -> str:
    logprobs = None if names is None else {"tokens": names}
    return "data: " + json.dumps({"system_fingerprint": "fp_a_b", "choices": [{"logprobs": logprobs}]}) + "\n\n"


def chunk(text: str) -> str:
    return f"{len(text.encode()):x}\r\n{text}\r\n"


class Server:
    """Answers each request with the next of `answers`."""

    def __init__(self) -> None:
        self.answers: list[str] = []
        self.bodies: list[dict[str, object]] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        size = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
        self.bodies.append(json.loads(await reader.readexactly(size)))
        writer.write(self.answers.pop(0).encode())
        await writer.drain()
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield made


@pytest.fixture
def client(server: Server) -> Client:
    return Client(f"http://127.0.0.1:{server.port}", "key")


async def test_tokens_are_timed_and_named(server: Server, client: Client) -> None:
    server.answers = [HEAD + chunk(event(["a"])) + chunk(event(["b", "c"]) + "data: [DONE]\n\n")]
    answer = await client.ask("base@one", [1, 2], 3, names=True)
    assert answer.failure == ""
    assert answer.tokens == ["a", "b", "c"]
    assert answer.fingerprint == "fp_a_b"
    assert len(answer.times) == 2
    assert answer.gaps()[0] >= 0
    assert answer.first_token > 0
    assert server.bodies[0]["max_tokens"] == 3
    assert server.bodies[0]["prompt"] == [1, 2]


async def test_a_refusal_is_told(server: Server, client: Client) -> None:
    body = json.dumps(ERROR)
    server.answers = [f"HTTP/1.1 404 Not Found\r\ncontent-length: {len(body)}\r\n\r\n{body}"]
    answer = await client.ask("base@none", [1], 1)
    assert (answer.status, answer.times) == (404, [])
    assert "gone" in answer.failure


@pytest.mark.parametrize("end", ["", f"data: {json.dumps(ERROR)}\n\n"])
async def test_a_stream_that_ends_early_has_failed(server: Server, client: Client, end: str) -> None:
    server.answers = [HEAD + chunk(event(None) + end)]
    answer = await client.ask("base", [1], 5)
    assert answer.failure
    assert len(answer.times) == 1


async def test_no_server_is_a_failure(client: Client) -> None:
    answer = await Client("http://127.0.0.1:1", "key").ask("base", [1], 1)
    assert answer.failure
    assert answer.status == 0
