"""The stack of compose.yaml, under a project of its own, with its volumes gone afterwards."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from scripts.stack.config import ROOT
from tests.support.stack import free_ports

PROJECT = "chorus-test"
BUILD_SECONDS = 3000.0
READY_SECONDS = 300.0


@dataclass(frozen=True)
class Compose:
    command: tuple[str, ...]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def run(self, *arguments: str, timeout: float = 120.0) -> str:
        """Its standard output; what it says besides goes to this test's own."""
        done = subprocess.run(
            [*self.command, *arguments],
            cwd=ROOT,
            env={**os.environ, "CHORUS_GATEWAY_PORT": str(self.port)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=sys.stderr,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(arguments)} ended with {done.returncode}\n{done.stdout}"
        return done.stdout

    def container(self, service: str) -> str:
        return self.run("ps", "-q", service).split()[0]

    def inspect(self, service: str, template: str) -> str:
        done = subprocess.run(
            ["docker", "inspect", "--format", template, self.container(service)],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        return done.stdout.strip()

    def await_ready(self, seconds: float = READY_SECONDS) -> None:
        until = time.monotonic() + seconds
        while not self.ready():
            assert time.monotonic() < until, self.run("logs", "--tail", "20")
            time.sleep(0.5)

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False


def compose_command() -> tuple[str, ...]:
    for command in (("docker", "compose"), ("docker-compose",)):
        if shutil.which(command[0]):
            works = subprocess.run([*command, "version"], capture_output=True, timeout=30, check=False)
            if works.returncode == 0:
                return (*command, "-p", PROJECT)
    raise AssertionError("`make test-compose` needs Docker with compose 1.29 or 2, and found neither.")


@pytest.fixture(scope="session")
def compose() -> Iterator[Compose]:
    compose = Compose(compose_command(), free_ports(1)[0])
    try:
        compose.run("build", timeout=BUILD_SECONDS)
        compose.run("up", "-d", timeout=600)
        compose.await_ready()
        yield compose
    finally:
        compose.run("down", "--volumes", "--remove-orphans")


@pytest.fixture(scope="session")
def keys(compose: Compose) -> dict[str, str]:
    """As a person gets them."""
    printed = compose.run("run", "--rm", "-T", "demo", timeout=300)
    return dict(line.split("=", 1) for line in printed.splitlines() if line.startswith("CHORUS_"))
