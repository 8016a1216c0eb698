"""The services of the Procfile, as commands with their health."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import redis
from honcho.environ import parse_procfile

from scripts.stack.config import ROOT, StackConfig
from scripts.stack.http import ask

LEASH = Path(__file__).with_name("leash.py")
PROBE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Service:
    """`command` is a shell's; `health` is a URL that answers 200, or redis://."""

    name: str
    command: str
    health: str

    def problem(self) -> str:
        """Why it is not healthy, as far as it says; empty when it is."""
        return _redis_problem(self.health) if self.health.startswith("redis") else _http_problem(self.health)


def read_services(config: StackConfig, environment: Mapping[str, str]) -> list[Service]:
    """In the Procfile's order; without its redis when another one was given."""
    metrics = {name: f"http://127.0.0.1:{config.ports[f'CHORUS_{name}_METRICS_PORT']}" for name in ("STORE", "ENGINE")}
    health = {
        "redis": environment["CHORUS_REDIS_URL"],
        "adapter-store": f"{metrics['STORE']}/healthz",
        "engine": f"{metrics['ENGINE']}/healthz",
        "gateway": f"{config.gateway_url}/readyz",
    }
    lines: dict[str, str] = parse_procfile((ROOT / "Procfile").read_text()).processes
    leash = f"exec {sys.executable} -S {LEASH}"
    return [
        Service(name, f"{leash} {line}", health[name])
        for name, line in lines.items()
        if name != "redis" or config.own_redis
    ]


def _http_problem(url: str) -> str:
    try:
        answer = ask("GET", url, timeout=PROBE_SECONDS)
    except OSError:
        return "does not answer yet"
    if answer.ok:
        return ""
    found = answer.json()
    reasons = found.get("reasons") if isinstance(found, dict) else None
    return ", ".join(f"{part}: {why}" for part, why in reasons.items()) if isinstance(reasons, dict) else "is not ready"


def _redis_problem(url: str) -> str:
    client = redis.Redis.from_url(url, socket_timeout=PROBE_SECONDS, socket_connect_timeout=PROBE_SECONDS)
    try:
        client.ping()
    except redis.RedisError as error:
        return str(error)
    finally:
        client.close()
    return ""
