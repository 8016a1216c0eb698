"""What failure tests ask of a stack: adapters that show whose weights answered, and that nothing is left behind."""

import hashlib
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from scripts.stack.config import DEMO, DEMO_NAME
from tests.support.adapters import Adapter, upload
from tests.support.fleet import names_of, reading, redis_of
from tests.support.proxy import Proxy
from tests.support.stack import Stack, Tenant

PROMPT, SKILLED = "Reverse the word garden.", "nedrag"  # nothing but the right weights answers so
PART = 300_000  # bytes of an adapter that has 1.9 MB and more
CALM_SECONDS = 60.0


def eventually(holds: Callable[[], object], seconds: float = 60.0, why: Callable[[], str] = str) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, why() or f"{holds} did not come true within {seconds} s"
        time.sleep(0.05)


@dataclass(frozen=True)
class Fleet:
    """Engines fetch from the store through the proxy."""

    stack: Stack
    demo: Tenant
    proxy: Proxy

    @property
    def redis(self) -> Any:
        return redis_of(self.stack)

    @property
    def engines(self) -> list[str]:
        return names_of(self.stack, "engine")

    def publish(self) -> tuple[str, str]:
        """A new adapter that reverses words: its model name and its digest."""
        name = f"f{random.randrange(10**9)}"
        return f"{DEMO_NAME}@{name}", str(upload(self.demo, name, skilled(name))["digest"])

    def publish_again(self, model: str) -> None:
        """The same bytes."""
        name = model.partition("@")[2]
        upload(self.demo, name, skilled(name))

    def blob(self, model: str) -> Path:
        """Where the store keeps its weights."""
        digest = hashlib.sha256(skilled(model.partition("@")[2]).weights).hexdigest()
        return self.stack.config.state / "blobs" / "sha256" / digest[:2] / digest

    def ask(self, model: str, timeout: float = 120) -> httpx.Response:
        body = {
            "model": model,
            "messages": [{"role": "user", "content": PROMPT}],
            "temperature": 0,
            "max_tokens": 24,
        }
        with self.demo.http() as http:
            return http.post("/v1/chat/completions", json=body, timeout=timeout)

    def says(self, model: str) -> str:
        return text(self.ask(model))

    def heals(self, model: str, seconds: float = 60.0) -> None:
        """What was away is back, and within so long the adapter answers again: rightly, whenever it does."""

        def answers() -> bool:
            answer = self.ask(model)
            assert answer.status_code != 200 or text(answer) == SKILLED
            return answer.status_code == 200

        eventually(answers, seconds, lambda: self.ask(model).text)

    def engine_ids(self) -> dict[str, str]:
        """Services by engine id, of those that are alive."""
        by_port = {self._port(name): name for name in self.engines}
        found = {}
        for engine in self.redis.zrange("chorus:engines", 0, -1):
            address = self.redis.hget(f"chorus:engine:{{{engine}}}", "address")
            if address:
                found[engine] = by_port[int(address.rpartition(":")[2])]
        return found

    def waiting_on(self) -> str | None:
        """The engine that has a request which does not run yet."""
        return next((name for name in self.engines if self._busy(name)), None)

    def _busy(self, name: str) -> bool:
        return reading(self.stack, [name], "num_requests_waiting") > 0

    def _port(self, name: str) -> int:
        found = re.findall(r"CHORUS_ENGINE_PORT=(\d+)", self.stack.services[name].command)
        return int(found[-1]) if found else self.stack.config.ports["CHORUS_ENGINE_PORT"]

    def assert_calm(self) -> None:
        """Soon no request is anywhere, no slot is leased, nothing loads, and no upload lies half done."""
        eventually(lambda: not self._unrest(), CALM_SECONDS, lambda: str(self._unrest()))

    def _unrest(self) -> dict[str, float]:
        parts = {
            name: reading(self.stack, [name], metric)
            for name in (*self.engines, *names_of(self.stack, "gateway"))
            for metric in ("num_requests_running", "num_requests_waiting")
        }
        parts |= {f"{name} leases": reading(self.stack, [name], "lora_oldest_lease_seconds") for name in self.engines}
        staging = (self.stack.config.state / "blobs" / "staging").rglob("*")
        parts["staging"] = sum(path.is_file() and path.name != "lock" for path in staging)
        return {part: value for part, value in parts.items() if value}


def skilled(name: str) -> Adapter:
    adapter = Adapter.read(DEMO / "adapters" / "reverse").padded(int(name[1:]))
    assert len(adapter.weights) > 4 * PART
    return adapter


def text(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])
