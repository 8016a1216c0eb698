"""What must hold of a fleet that nobody asks anything of any more."""

import time
from collections import Counter

from benchmarks.slots.catalog import Catalog
from benchmarks.slots.registry import engines
from tests.support.adapters import stored
from tests.support.fleet import names_of, reading, redis_of
from tests.support.stack import Stack

IDLE = ("num_requests_running", "num_requests_waiting")
LEASES = "lora_oldest_lease_seconds"


def broken(stack: Stack, seconds: float = 20.0) -> list[str]:
    """Laws that do not hold, a sentence each, once they had so long to."""
    until = time.monotonic() + seconds
    while (found := [*_unrest(stack), *_strange_residency(stack), *_litter(stack)]) and time.monotonic() < until:
        time.sleep(0.2)
    return found


def _unrest(stack: Stack) -> list[str]:
    """Requests and leases that are nobody's, and placers but one."""
    served = [(name, metric) for kind in ("engine", "gateway") for name in names_of(stack, kind) for metric in IDLE]
    served += [(name, LEASES) for name in names_of(stack, "engine")]
    found = [f"{name}: {metric} is {value:g}" for name, metric in served if (value := reading(stack, [name], metric))]
    placers = reading(stack, names_of(stack, "adapter-store"), "placer_leading")
    return found + ([] if placers == 1 else [f"{placers:g} stores say that they place"])


def _strange_residency(stack: Stack) -> list[str]:
    """What Redis says of engines is what the engines say."""
    seen = engines(redis_of(stack)).values()
    told = Counter(record["tier"] for each in seen for record in each.residents.values() if record["state"] == "ready")
    names = names_of(stack, "engine")
    found = [] if len(seen) == len(names) else [f"{len(seen)} of {len(names)} engines are registered"]
    for digest, record in ((digest, record) for each in seen for digest, record in each.residents.items()):
        if record["leases"] or record["state"] != "ready":
            found.append(f"adapter {digest[:10]} is {record['state']} with {record['leases']} leases")
    actual = reading(stack, names, "lora_resident", tier="gpu")
    return found + (
        [] if told["gpu"] == actual else [f"{told['gpu']} adapters in slots, as Redis has it; {actual:g} are"]
    )


def _litter(stack: Stack) -> list[str]:
    staging = (stack.config.state / "blobs" / "staging").rglob("*")
    return [f"{path.name} lies in staging" for path in staging if path.is_file() and path.name != "lock"]


def strange_catalog(stack: Stack, tenant: str, catalog: Catalog) -> list[str]:
    """Every name that operations are sure of has the generations that they made."""
    there: dict[str, dict[int, str]] = {}
    for adapter in stored(stack, tenant):
        there.setdefault(adapter["name"], {})[adapter["generation"]] = adapter["digest"]
    return [
        f"{name} has generations {sorted(there.get(name, {}))}, not {sorted(entry.generations)}"
        for name, entry in catalog.entries.items()
        if there.get(name) != entry.generations
    ]


def complaints(stack: Stack) -> list[str]:
    """Tracebacks in logs: where each begins and what follows."""
    found = []
    for name in stack.services:
        text = stack.config.log(name).read_text(errors="replace")
        found += [f"{name}: {part[:1500]}" for part in text.split("Traceback")[1:]]
    return found
