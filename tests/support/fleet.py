"""Stacks of several engines, gateways and stores, and what they say of themselves."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import redis
from prometheus_client.parser import text_string_to_metric_families

from scripts.stack.seed import seed
from scripts.stack.services import Service
from tests.support.stack import Stack, free_ports, prepare

# What a further one of a kind cannot share with the first.
OWN_PORTS: Mapping[str, tuple[str, ...]] = {
    "engine": ("CHORUS_ENGINE_METRICS_PORT", "CHORUS_ENGINE_PORT"),
    "adapter-store": ("CHORUS_STORE_METRICS_PORT", "CHORUS_STORE_PORT"),
    "gateway": ("CHORUS_GATEWAY_PORT",),
}


@contextmanager
def running_fleet(
    state: Path,
    settings: Mapping[str, str] | None = None,
    *,
    engines: int = 2,
    gateways: int = 1,
    stores: int = 1,
    adapters: bool = True,
    modules: Mapping[str, str] | None = None,
) -> Iterator[Stack]:
    """As `running_stack`; further ones are called engine-2, gateway-2, adapter-store-2 and so on.

    adapters: with the demo's. modules: what a service runs instead of its own. A setting that is empty is unset,
    whatever the stack would choose.
    """
    settings = settings or {}
    stack = prepare(state, settings)
    stack.environment |= {name: "" for name, value in settings.items() if not value}
    widen(stack, {"engine": engines, "gateway": gateways, "adapter-store": stores})
    for name, module in (modules or {}).items():
        service = stack.services[name]
        command = f"{service.command.rpartition(' -m ')[0]} -m {module}"
        stack.services[name] = replace(service, command=command)
    try:
        stack.start()
        stack.await_healthy()
        seed(stack.admin, state / "env", adapters=adapters, note=lambda text: None)
        yield stack
    finally:
        stack.stop()


def widen(stack: Stack, counts: Mapping[str, int]) -> None:
    """Add services so that there are `counts` of each kind; nothing is started."""
    missing = [(kind, f"{kind}-{n}") for kind, count in counts.items() for n in range(2, count + 1)]
    taken = set(stack.config.ports.values())
    wanted = sum(len(OWN_PORTS[kind]) for kind, _ in missing)
    ports = iter([port for port in free_ports(wanted + len(taken)) if port not in taken])
    for kind, name in missing:
        stack.services[name] = _another(stack.services[kind], name, {own: next(ports) for own in OWN_PORTS[kind]})


def _another(first: Service, name: str, ports: Mapping[str, int]) -> Service:
    assert first.command.startswith("exec ")
    assignments = " ".join(f"{variable}={port}" for variable, port in ports.items())
    health = f"http://127.0.0.1:{next(iter(ports.values()))}/{first.health.rpartition('/')[2]}"
    return Service(name, f"exec env {assignments} {first.command.removeprefix('exec ')}", health)


def names_of(stack: Stack, kind: str) -> list[str]:
    return [name for name in stack.services if name == kind or name.startswith(f"{kind}-")]


def reading(stack: Stack, services: Iterable[str], name: str, **labels: str) -> float:
    """A metric's value at some services, those of all other labels added up; 0 where there is none."""
    total = 0.0
    for service in services:
        base = stack.services[service].health.rpartition("/")[0]
        text = httpx.get(f"{base}/metrics", timeout=60, trust_env=False).text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        total += sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items())
    return total


def redis_of(stack: Stack) -> Any:
    """A client that decodes answers."""
    return redis.Redis.from_url(stack.environment["CHORUS_REDIS_URL"], decode_responses=True, socket_timeout=60)
