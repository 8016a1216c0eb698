"""A whole stack of a test's own: real processes, a real Redis and real databases, started as `make up` starts them."""

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import openai
from prometheus_client.parser import text_string_to_metric_families

from scripts.stack.config import PORTS, StackConfig
from scripts.stack.secrets import ensure_secrets
from scripts.stack.seed import Admin, seed
from scripts.stack.services import Service, read_services

HEALTHY_SECONDS = 90.0
# What a developer's shell may set must not change what is tested.
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")
SMALL = {"CHORUS_NUM_THREADS": "1", "CHORUS_KV_CACHE_MEMORY": "0.1", "OTEL_BSP_SCHEDULE_DELAY": "100"}
PATIENT = {"CHORUS_DRAIN_SECONDS": "60"}  # what runs is slow on a busy machine


@dataclass
class Stack:
    """`start`, `kill` and `restart` take a service's name in the Procfile."""

    config: StackConfig
    environment: dict[str, str]
    services: dict[str, Service]
    admin: Admin
    processes: "dict[str, subprocess.Popen[bytes]]" = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.config.gateway_url

    def start(self, *names: str) -> None:
        for name in names or self.services:
            log = self.config.log(name)
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as out:
                self.processes[name] = subprocess.Popen(
                    self.services[name].command,
                    shell=True,
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                )

    def await_healthy(self, *names: str) -> None:
        until = time.monotonic() + HEALTHY_SECONDS
        for name in names or self.services:
            while problem := self.services[name].problem():
                alive = self.processes[name].poll() is None
                assert alive, f"{name} ended:\n{self.tail(name)}"
                assert time.monotonic() < until, f"{name}: {problem}\n{self.tail(name)}"
                time.sleep(0.05)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """The exit status."""
        self.processes[name].send_signal(number)
        return self.processes[name].wait(timeout=60)

    def restart(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        self.kill(name, number)
        self.start(name)
        self.await_healthy(name)

    def mend(self) -> None:
        """Start again what does not run."""
        gone = [name for name, process in self.processes.items() if process.poll() is not None]
        for name in gone:
            self.start(name)
        self.await_healthy()

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """It keeps its connections and answers nothing."""
        self.processes[name].send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.processes[name].send_signal(signal.SIGCONT)

    def stop(self) -> None:
        running = [process for process in self.processes.values() if process.poll() is None]
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def tail(self, name: str) -> str:
        return "\n".join(self.config.log(name).read_text(errors="replace").splitlines()[-20:])

    def new_tenant(self, name: str) -> "Tenant":
        self.admin.ensure_tenant(name)
        return Tenant(self, name, self.admin.create_key(name, "test"))

    def http(self, key: str = "") -> httpx.Client:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=120, trust_env=False)

    def metrics(self, service: str) -> dict[str, float]:
        """Values by name, those of all labels added up."""
        base = self.services[service].health.rpartition("/")[0]
        text = httpx.get(f"{base}/metrics", timeout=120, trust_env=False).text
        sums: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
        return sums


@dataclass(frozen=True)
class Tenant:
    stack: Stack
    name: str
    key: str

    def client(self) -> openai.OpenAI:
        http = openai.DefaultHttpxClient(trust_env=False)
        return openai.OpenAI(
            base_url=f"{self.stack.url}/v1", api_key=self.key, max_retries=0, timeout=60, http_client=http
        )

    def http(self) -> httpx.Client:
        return self.stack.http(self.key)


@contextmanager
def running_stack(state: Path, settings: Mapping[str, str] | None = None) -> Iterator[Stack]:
    """Healthy and seeded with the demo's tenant and adapters; all its processes end with the block."""
    stack = prepare(state, settings or {})
    try:
        stack.start()
        stack.await_healthy()
        seed(stack.admin, state / "env", adapters=True, note=lambda text: None)
        yield stack
    finally:
        stack.stop()


def prepare(state: Path, settings: Mapping[str, str]) -> Stack:
    """Nothing runs yet."""
    config = StackConfig.read(environment_of(state) | dict(settings))
    environment = config.environment(ensure_secrets(state))
    services = {service.name: service for service in read_services(config, environment)}
    return Stack(config, environment, services, Admin(config.gateway_url, environment["CHORUS_ADMIN_KEY"]))


def environment_of(state: Path) -> dict[str, str]:
    """For a stack in this folder, on free ports, small enough for a busy machine."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    ports = {name: str(port) for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)}
    return inherited | SMALL | PATIENT | ports | {"CHORUS_STATE_DIR": str(state)}


def free_ports(count: int) -> list[int]:
    """Below the range from which the kernel gives ports to clients, and from a range of this test worker's own, so that
    none is taken before it is used or between two starts."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 10
    first = 12_000 + 2_000 * worker
    found: list[int] = []
    for port in random.sample(range(first, first + 2_000), k=1000):
        if len(found) < count and _free(port):
            found.append(port)
    return found


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
