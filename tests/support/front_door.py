"""A gateway's own process before engines that have no model, each a process too, with a real Redis behind a proxy: for
tests that kill, stop and delay."""

import itertools
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import redis
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.gateway.stack import Process, first_line, running
from chorus_gateway.auth import generate_key
from tests.gateway.support.redis_server import RedisServer, free_port
from tests.support.proxy import Proxy, proxy

TOKEN = "a-secret-of-the-services"
TENANT = "acme"
# Concurrent requests are bounded so that each is counted, and never refused.
LIMITS = {"requests_per_minute": 10**6, "tokens_per_minute": 10**9, "concurrent_requests": 10**4}


@dataclass(frozen=True)
class Engine:
    id: str
    address: str
    process: Process

    def kill(self) -> None:
        self.process.popen.kill()
        self.process.popen.wait()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """It keeps its connections and says nothing."""
        self.process.popen.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.popen.send_signal(signal.SIGCONT)

    @property
    def alive(self) -> bool:
        return self.process.popen.poll() is None


@dataclass
class FrontDoor:
    """A request's `seed` says how many microseconds an engine takes for each of its tokens."""

    folder: Path
    held: ExitStack
    redis_server: RedisServer
    proxy: Proxy  # between the gateway and Redis
    settings: Mapping[str, str]
    port: int = field(default_factory=free_port)
    admin: str = field(default_factory=lambda: generate_key().text)
    key: str = ""
    engines: list[Engine] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    gateway: Process = field(init=False)

    @property
    def redis(self) -> Any:
        return redis.Redis.from_url(self.redis_server.url, decode_responses=True)

    def start_engine(self) -> Engine:
        """Announced in Redis as if its heart beat for ever."""
        engine_id = f"engine-{next(self.numbers)}"
        log = self.folder / f"{engine_id}.log"
        command = [sys.executable, "-m", "tests.support.fake_engine_process", engine_id, TOKEN]
        process = self.held.enter_context(running(command, log))
        engine = Engine(engine_id, first_line(process, log), process)
        self.announce(engine)
        self.engines.append(engine)
        return engine

    def announce(self, engine: Engine) -> None:
        self.redis.hset(f"chorus:engine:{{{engine.id}}}", mapping={"address": engine.address, "draining": "0"})
        self.redis.zadd("chorus:engines", {engine.id: 1})

    def bury(self, engine: Engine) -> None:
        """It is announced no more."""
        self.redis.delete(f"chorus:engine:{{{engine.id}}}")
        self.redis.zrem("chorus:engines", engine.id)
        self.engines.remove(engine)

    def start_gateway(self) -> None:
        environment = {
            **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
            "CHORUS_GATEWAY_PORT": str(self.port),
            "CHORUS_GATEWAY_DATABASE_URL": f"sqlite+aiosqlite:///{self.folder}/gateway.db",
            "CHORUS_JOURNAL_DIR": str(self.folder / "journal"),
            "CHORUS_REDIS_URL": f"redis://{self.proxy.address}/0",
            "CHORUS_STORE_ADDRESS": "127.0.0.1:1",
            "CHORUS_MAX_QUEUE": "10000",
            "CHORUS_SERVICE_TOKEN": TOKEN,
            "CHORUS_KEY_PEPPER": "a pepper for all tests",
            "CHORUS_NAMESPACE_SECRET": "a namespace secret of tests",
            "CHORUS_ADMIN_KEY": self.admin,
            **self.settings,
        }
        command = [sys.executable, "-m", "chorus_gateway"]
        self.gateway = self.held.enter_context(running(command, self.folder / "gateway.log", environment))
        eventually(lambda: self.ready(), why=self.tail)

    def ready(self) -> bool:
        try:
            with self.http("") as http:
                return http.get("/readyz").is_success
        except httpx.TransportError:
            return False

    def tail(self) -> str:
        return (self.folder / "gateway.log").read_text()[-2000:]

    def http(self, key: str | None = None) -> httpx.Client:
        token = self.key if key is None else key
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=120, trust_env=False)

    def new_key(self) -> str:
        """Of a tenant with every limit of a minute."""
        with self.http(self.admin) as http:
            http.post("/admin/v1/tenants", json={"id": TENANT, "limits": LIMITS})
            answer = http.post(f"/admin/v1/tenants/{TENANT}/keys", json={"scopes": ["infer"]})
            assert answer.status_code == 201, answer.text
            return str(answer.json()["key"])

    def ask(self, *, tokens: int = 4, pause: float = 0.001, key: str | None = None) -> httpx.Response:
        with self.http(key) as http:
            return http.post("/v1/completions", json=body(tokens=tokens, pause=pause))

    def gauge(self, name: str, **labels: str) -> float:
        with self.http("") as http:
            text = http.get("/metrics").text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items())

    def unrest(self) -> dict[str, float]:
        """What is not at rest: requests, what they hold of quotas, and what the ledger does not have yet."""
        parts = {name: self.gauge(name) for name in ("num_requests_running", "num_requests_waiting", "usage_unwritten")}
        parts["leases"] = sum(self.redis.zcard(key) for key in self.redis.scan_iter("chorus:quota:*:leases"))
        return {part: value for part, value in parts.items() if value}

    def assert_calm(self, seconds: float = 60.0) -> None:
        eventually(lambda: not self.unrest(), seconds, lambda: str(self.unrest()))


def body(*, tokens: int = 4, pause: float = 0.001, **fields: Any) -> dict[str, Any]:
    return {
        "model": "chorus-demo",
        "prompt": "Once upon a time",
        "max_tokens": tokens,
        "seed": round(pause * 1e6),
        "ignore_eos": True,
    } | fields


@contextmanager
def front_door(folder: Path, settings: Mapping[str, str] | None = None, *, engines: int = 2) -> Iterator[FrontDoor]:
    with ExitStack() as held:
        server = RedisServer(folder)
        server.start()
        held.callback(server.stop)
        passing = held.enter_context(proxy(("127.0.0.1", server.port)))
        door = FrontDoor(folder, held, server, passing, settings or {})
        for _ in range(engines):
            door.start_engine()
        door.start_gateway()
        door.key = door.new_key()
        yield door


def eventually(holds: Any, seconds: float = 60.0, why: Any = lambda: "") -> float:
    """How long it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() < began + seconds, why() or f"it did not come true within {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - began
