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
    """StartError in one sentence when the address is taken or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
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

    def __init__(self, app: ASGIApp, drain: Callable[[], Awaitable[None]]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=Http1,
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

    def stop(self) -> None:
        """As SIGTERM does: whoever watches over the process starts it again."""
        self.should_exit = True

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
