"""The HTTP server: one socket, bound before anything else is started, and an end that no stream is cut off by."""

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from chorus_gateway.errors import StartError
from chorus_gateway.http1 import Http1

BACKLOG = 2048


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. StartError in one sentence when the address is taken or not ours."""
    return _bound(host, port, listen=True)


def reserve(host: str, port: int) -> socket.socket:
    """A socket that keeps the port for `share` and takes no connection. StartError as of `bind`."""
    # Sockets that share a port do not notice one another: the first one asks as if it wanted the port alone.
    with _bound(host, port) as alone:
        found: int = alone.getsockname()[1]
    return share(host, found)


def share(host: str, port: int) -> socket.socket:
    """One of several sockets of a port. Connections go to those that listen."""
    return _bound(host, port, shared=True)


def _bound(host: str, port: int, *, shared: bool = False, listen: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        if listen:
            listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise StartError(
            f"The gateway cannot listen on {host}:{port}: {error.strerror}; "
            "stop what uses it, or set CHORUS_GATEWAY_HOST or CHORUS_GATEWAY_PORT."
        ) from error
    listener.setblocking(False)
    return listener


class Server(uvicorn.Server):
    """On SIGTERM or SIGINT `drain` lets running requests end, or ends them properly; only then connections close."""

    def __init__(
        self, app: ASGIApp, drain: Callable[[], Awaitable[None]], ready: Callable[[], None] | None = None
    ) -> None:
        """`ready` is called when it listens."""
        super().__init__(
            uvicorn.Config(
                app,
                http=Http1,
                proxy_headers=False,  # ClientAddress reads them, of trusted proxies alone
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                backlog=BACKLOG,
                timeout_graceful_shutdown=5,
            )
        )
        self._drain = drain
        self._ready = ready

    def stop(self) -> None:
        """As SIGTERM does: whoever watches over the process starts it again."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._ready is not None:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        await self._drain()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own raises the signal again at the end, which would kill us before the parts are closed.
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
