"""The two programs in C: compiled when they are needed, as no Python keeps up with what they measure."""

import json
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).parent / "native"


class NoCompiler(Exception):
    """The message says what to install."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Of many times, in seconds."""

    mean: float
    p50: float
    p90: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of the client came to; see native/load.c."""

    seconds: float
    answers: int
    failures: int
    tokens: int
    events: int
    bytes: int
    cpu: float
    unsent: float  # requests that were due and found no free connection
    latency: Spread
    first_byte: Spread

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds

    @property
    def token_rate(self) -> float:
        return self.tokens / self.seconds


@dataclass(frozen=True, slots=True)
class Request:
    """As bytes on the wire, in a file."""

    file: Path


@dataclass(frozen=True, slots=True)
class Native:
    folder: Path
    _made: list[int] = field(default_factory=list)

    @classmethod
    def build(cls, folder: Path) -> "Native":
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            raise NoCompiler("There is no C compiler for the load client: install gcc or clang.")
        for name in ("load", "face"):
            subprocess.run([compiler, "-O2", "-o", str(folder / name), str(SOURCES / f"{name}.c")], check=True)
        return cls(folder)

    @property
    def face(self) -> list[str]:
        """Command of the stub's HTTP face; it prints its port."""
        return [str(self.folder / "face"), "0"]

    def request(self, key: str, body: dict[str, Any], path: str = "/v1/chat/completions") -> Request:
        content = json.dumps(body, separators=(",", ":")).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        )
        self._made.append(len(content))
        file = self.folder / f"request-{len(self._made)}.http"
        file.write_bytes(head.encode() + content)
        return Request(file)

    def load(
        self, port: int, request: Request, *, connections: int, seconds: float, warmup: float = 1.0, rate: float = 0.0
    ) -> Load:
        """`rate` in requests a second, whatever is answered; 0 is as many as `connections` can have answered."""
        arguments = [str(each) for each in (port, connections, seconds, warmup, rate, request.file)]
        done = subprocess.run([str(self.folder / "load"), *arguments], stdout=subprocess.PIPE, check=True)
        said = json.loads(done.stdout)
        latency, first_byte = (Spread(**said.pop(name)) for name in ("latency", "first_byte"))
        return Load(**said, latency=latency, first_byte=first_byte)
