"""Fairness among tenants over two gateways of two workers each, with one engine as the bottleneck.

usage: python -m benchmarks.gateway.fairness [tokens]

Tenants are spread unevenly over the four workers and one sends twenty times what another does. Measured are: shares of
tokens while both are backlogged, with equal weights and with 3:1; the first token of a tenant that asks now and then,
alone and beside the flood, by the seat that is kept and by those reserved for its band; and what each band gets while
all are backlogged.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

from benchmarks.commit import ROOT
from benchmarks.gateway.paced_engine import Pace
from benchmarks.gateway.queue_worker import Client
from tests.gateway.support.redis_server import RedisServer

MODEL = ROOT / "examples" / "demo" / "model"
TOKENS = 200_000
PACE = Pace(rows=32, step=0.01, together=8)
WARM_UP = 1.0  # seconds
TIMES = 20  # that one tenant sends what the other does
LISTENING = 15.0  # seconds in which first tokens are timed
_TOKEN = "a-secret-of-the-services"
_HEAVY, _LIGHT = (0.5, 0.33, 0.12, 0.05), (0.0, 0.0, 0.2, 0.8)  # shares of a tenant's requests by worker

Workers = tuple[tuple[Client, ...], ...]


def spread(shares: Sequence[float], client: Client) -> Workers:
    """Its requests in flight, over the workers."""
    return tuple(
        (Client(**(asdict(client) | {"in_flight": round(share * client.in_flight)})),) if share else ()
        for share in shares
    )


def together(*tenants: Workers) -> Workers:
    return tuple(tuple(client for tenant in tenants for client in tenant[at]) for at in range(4))


def backlogged(rows: int, weight: float = 1.0) -> Workers:
    """Both always have more waiting than may run; the tenant of the weight sends the less."""
    few = rows * 3 // 2
    return together(spread(_HEAVY, Client("heavy", TIMES * few)), spread(_LIGHT, Client("light", few, weight=weight)))


def now_and_then(rows: int, *, beside: bool, band: str = "default") -> Workers:
    """One tenant asks, waits for its answer, and asks again after a while. Answers of the flood are long."""
    light: Workers = ((), (), (), (Client("light", 1, band=band, max_tokens=16, pause=0.05),))
    flood = spread(_HEAVY, Client("heavy", TIMES * rows, max_tokens=256))
    return together(light, flood) if beside else light


def bands(rows: int) -> Workers:
    """All three backlogged, and the workers of one have little of the others."""
    top = spread(_HEAVY, Client("top", 4 * rows, band="priority"))
    middle = spread(_LIGHT, Client("middle", 4 * rows))
    low = spread(tuple(reversed(_HEAVY)), Client("low", 4 * rows, band="flex"))
    return together(top, middle, low)


@dataclass(frozen=True, slots=True)
class Measured:
    tokens: Mapping[str, int]  # by tenant, in the time measured
    seconds: float
    first_tokens: Mapping[str, Sequence[float]]  # seconds, by tenant

    @property
    def shares(self) -> dict[str, float]:
        total = sum(self.tokens.values())
        return {tenant: round(count / total, 4) for tenant, count in sorted(self.tokens.items())}


class Child:
    """A process that is told and tells lines."""

    def __init__(self, module: str, arguments: Mapping[str, Any]) -> None:
        command = [sys.executable, "-m", f"benchmarks.gateway.{module}", json.dumps(arguments)]
        self._popen = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, line: str = "") -> str:
        self._in.write(f"{line}\n")
        self._in.flush()
        return self.hear()

    def tell(self) -> None:
        self._in.write("\n")
        self._in.flush()

    def hear(self) -> str:
        assert self._popen.stdout is not None
        line = self._popen.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._popen.args!r} ended")
        return line

    def finish(self) -> str:
        """Its input ends; what it says then."""
        self._in.close()
        return self.hear()

    def close(self) -> None:
        self._popen.kill()
        self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            assert pipe is not None
            pipe.close()

    @property
    def _in(self) -> IO[str]:
        assert self._popen.stdin is not None
        return self._popen.stdin


def measure(workers: Workers, pace: Pace, *, tokens: int = 0, seconds: float = 0.0) -> Measured:
    """Until as many tokens have come and as many seconds passed."""
    with ExitStack() as held:
        redis = RedisServer(Path(held.enter_context(tempfile.TemporaryDirectory())))
        redis.start()
        held.callback(redis.stop)
        engine = _child(held, "paced_engine", {**asdict(pace), "token": _TOKEN, "folder": str(MODEL)})
        address = f"127.0.0.1:{int(engine.hear())}"
        common = {"engine": address, "redis": redis.url, "token": _TOKEN}
        gateways = [
            _child(held, "queue_worker", {**common, "clients": [asdict(client) for client in clients]})
            for clients in workers
        ]
        for gateway in gateways:
            gateway.hear()
        for gateway in gateways:
            gateway.tell()
        time.sleep(WARM_UP)
        before, began = json.loads(engine.ask()), time.monotonic()
        while True:
            time.sleep(0.1)
            after, passed = json.loads(engine.ask()), time.monotonic() - began
            gained = {tenant: count - before.get(tenant, 0) for tenant, count in after.items()}
            if sum(gained.values()) >= tokens and passed >= seconds:
                break
        first_tokens: dict[str, list[float]] = {}
        for gateway in gateways:
            for tenant, times in json.loads(gateway.finish()).items():
                first_tokens.setdefault(tenant, []).extend(times)
        return Measured(gained, passed, first_tokens)


def _child(held: ExitStack, module: str, arguments: Mapping[str, Any]) -> Child:
    child = Child(module, arguments)
    held.callback(child.close)
    return child


def percentile(times: Sequence[float], share: float) -> float:
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def run(tokens: int = TOKENS, pace: Pace = PACE, listening: float = LISTENING) -> dict[str, Any]:
    """Figures with what they must reach. Times in seconds."""
    rows = pace.rows
    even = measure(backlogged(rows), pace, tokens=tokens)
    weighted = measure(backlogged(rows, weight=3.0), pace, tokens=tokens)
    alone = measure(now_and_then(rows, beside=False), pace, seconds=listening)
    beside = measure(now_and_then(rows, beside=True), pace, seconds=listening)
    of_bands = measure(bands(rows), pace, tokens=tokens)
    top = measure(now_and_then(rows, beside=True, band="priority"), replace(pace, kept=0), seconds=listening)
    first_alone, first_beside, first_top = (
        percentile(each.first_tokens["light"], 0.95) for each in (alone, beside, top)
    )
    bound = 1.5 * first_alone + pace.step
    return {
        "workers": 4,
        "pace": asdict(pace),
        "tokens": sum(even.tokens.values()),
        "equal_weights": {"shares": even.shares, "reached": abs(even.shares["light"] - 0.5) <= 0.03},
        "weights_3_to_1": {"shares": weighted.shares, "reached": abs(weighted.shares["light"] - 0.75) <= 0.03},
        "light_first_token_p95": {
            "alone": round(first_alone, 4),
            "beside_flood": round(first_beside, 4),
            "bound": round(bound, 4),
            "requests": len(beside.first_tokens["light"]),
            "reached": first_beside <= bound,
        },
        "priority_first_token_p95": {  # with no seat kept, the one of the reserved share
            "beside_flood": round(first_top, 4),
            "bound": round(bound, 4),
            "requests": len(top.first_tokens["light"]),
            "reached": first_top <= bound,
        },
        "bands": {"shares": of_bands.shares, "reached": all(share > 0.02 for share in of_bands.shares.values())},
    }


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if len(sys.argv) > 1 else TOKENS), indent=2))
