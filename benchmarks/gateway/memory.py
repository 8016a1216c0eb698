"""What a gateway's worker holds in memory: over time under a mix of requests, and for streams that only stand open."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.figures import Figure
from benchmarks.gateway.native import Load, Native
from benchmarks.gateway.stack import Door

_SLICE = 5.0  # seconds of one run of the client
_DRIFT = 0.05
_LONG = 600.0  # seconds


@dataclass(frozen=True, slots=True)
class Soaked:
    seconds: float
    resident: tuple[int, ...]  # bytes, once a slice
    answers: int
    failures: int


@dataclass(frozen=True, slots=True)
class Mix:
    """Whole answers and streams at once, on connections that are opened anew for every slice."""

    native: Native
    door: Door
    body: Mapping[str, Any]

    def run(self, seconds: float, warmup: float, note: Callable[[str], None]) -> Soaked:
        streamed = {**self.body, "max_tokens": 64, "stream": True, "seed": 20_000}
        kinds = [
            (self.native.request(self.door.key, dict(self.body)), 8),
            (self.native.request(self.door.key, streamed), 64),
        ]
        loads: list[Load] = []
        resident: list[int] = []

        def drive(request: Any, connections: int) -> None:
            loads.append(self.native.load(self.door.port, request, connections=connections, seconds=_SLICE, warmup=0.5))

        began = time.monotonic()
        while time.monotonic() - began < warmup + seconds:
            threads = [threading.Thread(target=drive, args=kind) for kind in kinds]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if time.monotonic() - began > warmup:
                resident.append(self.door.process.resident())
                note(f"{resident[-1] / 2**20:.0f} MiB")
        return Soaked(
            time.monotonic() - began,
            tuple(resident),
            sum(load.answers for load in loads),
            sum(load.failures for load in loads),
        )


def figures(soaked: Soaked) -> list[Figure]:
    """Drift is the mean of the last quarter over that of the first."""
    quarter = max(1, len(soaked.resident) // 4)
    first, last = (sum(part) / quarter for part in (soaked.resident[:quarter], soaked.resident[-quarter:]))
    detail = {
        "seconds": round(soaked.seconds),
        "answers": soaked.answers,
        "mib": [round(each / 2**20, 1) for each in soaked.resident[:: max(1, len(soaked.resident) // 60)]],
    }
    return [
        Figure("resident memory under mixed load", last / 2**20, "MiB"),
        Figure("resident memory's drift", abs(last / first - 1), "", _limit(soaked), detail=detail),
        Figure("requests of the mixed load that failed", soaked.failures, "", 0, detail={"answers": soaked.answers}),
    ]


def _limit(soaked: Soaked) -> float | None:
    """A run of seconds shows that it is measured: caches still fill, and nothing is held to a limit."""
    return _DRIFT if soaked.seconds >= _LONG else None


def idle(found: Mapping[str, Any], limit: int) -> Figure:
    """From benchmarks.gateway.streams."""
    name = f"resident memory with {found['streams']} idle streams"
    return Figure(name, found["resident_idle_bytes"] / 2**20, "MiB", limit / 2**20, detail=dict(found))
