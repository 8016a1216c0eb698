"""A TCP proxy between two services that can stop in the middle of what one sends the other, or pass it on late."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

CHUNK = 16 << 10  # bytes
LOOK_SECONDS = 0.01


class Proxy:
    """Passes on everything, until `hold_after` bytes of what the server sends on one connection."""

    def __init__(self, upstream: tuple[str, int], port: int) -> None:
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", port))
        self._allowed: int | None = None  # bytes from the server on a connection; None: all
        self._closed = False
        self.delay = 0.0  # seconds that whatever the server sends is late
        self.held = threading.Event()  # a connection has been stopped
        self._open: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def hold_after(self, size: int) -> None:
        """Stop every connection on which the server sends more than `size` bytes from now on."""
        self.held.clear()
        self._allowed = size

    def release(self) -> None:
        self._allowed = None

    def close(self) -> None:
        self._closed = True
        self._allowed = None
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._upstream)
            except OSError:
                client.close()
                continue
            self._open += [client, server]
            threading.Thread(target=self._pass, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, True), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, limited: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                passed = self._wait(passed + len(data)) if limited else 0
                if limited and self.delay:
                    threading.Event().wait(self.delay)
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _wait(self, passed: int) -> int:
        """Until more may pass; what has passed since the limit was set."""
        if self._allowed is None:
            return 0
        while self._allowed is not None and passed > self._allowed:
            self.held.set()
            threading.Event().wait(LOOK_SECONDS)
        return passed


@contextmanager
def proxy(upstream: tuple[str, int], port: int = 0) -> Iterator[Proxy]:
    made = Proxy(upstream, port)
    try:
        yield made
    finally:
        made.close()
