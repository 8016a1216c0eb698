"""GET /metrics and /healthz: all the HTTP that the store speaks."""

import asyncio
from contextlib import suppress

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_PATIENCE = 5.0  # seconds for a request to arrive
_MAX_HEADERS = 100


class MetricsServer:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """The port it listens on. Raises OSError."""
        self._server = await asyncio.start_server(self._answer, host, port, limit=8192)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ValueError, TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                path = await _requested_path(reader)
                writer.write(self._response(path))
                await writer.drain()
        writer.close()

    def _response(self, path: str) -> bytes:
        if path == "/metrics":
            return _http("200 OK", CONTENT_TYPE_LATEST, generate_latest(self._registry))
        if path == "/healthz":
            return _http("200 OK", "text/plain", b"ok\n")
        return _http("404 Not Found", "text/plain", b"only /metrics and /healthz are here\n")


async def _requested_path(reader: asyncio.StreamReader) -> str:
    request = (await reader.readline()).decode("latin-1").split()
    for _ in range(_MAX_HEADERS):
        if not (await reader.readline()).strip():
            break
    return request[1].partition("?")[0] if len(request) > 1 and request[0] in ("GET", "HEAD") else ""


def _http(status: str, content_type: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("latin-1") + body
