"""/metrics and /healthz."""

import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from chorus_engine.core.errors import StartError


class MetricsServer:
    """An HTTP server in a thread of its own, so that it answers while the engine is busy."""

    def __init__(self, host: str, port: int, registry: CollectorRegistry, healthy: Callable[[], bool]) -> None:
        """Raises StartError when the port cannot be bound."""
        try:
            self._server = ThreadingHTTPServer((host, port), _handler(registry, healthy))
        except OSError as error:
            raise StartError(
                f"the engine's metrics cannot listen on {host}:{port} ({error.strerror}); stop what uses that port or "
                "set CHORUS_ENGINE_METRICS_PORT to another."
            ) from None
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(registry: CollectorRegistry, healthy: Callable[[], bool]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def handle(self) -> None:
            with suppress(ConnectionError):  # whoever asked, before this server served perhaps, waits no more
                super().handle()

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))
            elif self.path == "/healthz":
                ok = healthy()
                self._answer(200 if ok else 503, "text/plain", b"ok\n" if ok else b"stopping\n")
            else:
                self._answer(404, "text/plain", b"there are /metrics and /healthz\n")

        def log_message(self, format: str, *args: object) -> None:
            """Scrapes are no events."""

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler
