"""Whether anything is left of requests that end in every way there is: answered, refused, cancelled, left by their
client, or killed with their gateway.

usage: python -m benchmarks.gateway.quota [requests]

Gateways are processes on one real Redis, each killed without warning after some of its requests and started anew. While
they run, each tenant's places are watched; at the end nothing may be held.
"""

import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, astuple
from pathlib import Path
from typing import IO, Any

from benchmarks.commit import ROOT
from benchmarks.gateway import quota_worker
from chorus_gateway.quota import RedisQuota
from chorus_gateway.quota.base import Outstanding
from tests.gateway.support.redis_server import RedisServer, redis_client

GATEWAYS = 2
LEASE_SECONDS = 3.0
KILLED_AFTER = (2_000, 40_000)  # requests of a gateway's life


class _Gateway:
    """One gateway's lives, one after the other, until its share of requests has been made."""

    def __init__(self, url: str, requests: int, seed: int, lives: tuple[int, int]) -> None:
        self.ended: Counter[str] = Counter()
        self.kills = 0
        self._url = url
        self._requests = requests
        self._lives = lives
        self._dice = random.Random(seed)

    def run(self) -> None:
        while (left := self._requests - self.ended.total()) > 0:
            life = self._dice.randrange(*self._lives)
            seed = self._dice.randrange(1 << 30)
            command = [sys.executable, "-m", "benchmarks.gateway.quota_worker"]
            arguments = [self._url, str(LEASE_SECONDS), str(left), str(seed)]
            with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
                assert process.stdout is not None
                self._live(process.stdout, life, process)
                if process.wait() not in (0, -9):
                    raise RuntimeError("a gateway ended by itself; it said why above")

    def _live(self, lines: IO[str], life: int, process: "subprocess.Popen[str]") -> None:
        until = self.ended.total() + life
        for line in lines:
            self.ended.update(json.loads(line))
            if self.ended.total() >= until:
                process.kill()
                self.kills += 1
                return


async def _outstanding(quota: RedisQuota) -> list[Outstanding]:
    return [await quota.outstanding(quota_worker.tenant_name(at)) for at in range(quota_worker.TENANTS)]


async def _measure(url: str, requests: int, lives: tuple[int, int]) -> dict[str, Any]:
    redis = redis_client(url)
    quota = RedisQuota(redis, timeout=quota_worker.TIMEOUT)
    gateways = [_Gateway(url, requests // GATEWAYS, seed, lives) for seed in range(GATEWAYS)]
    started, most = time.perf_counter(), 0
    running = asyncio.gather(*(asyncio.to_thread(gateway.run) for gateway in gateways))
    while not running.done():
        await asyncio.wait([running], timeout=0.02)
        most = max(most, *(found.leases for found in await _outstanding(quota)))
    await running
    seconds = time.perf_counter() - started
    await asyncio.sleep(LEASE_SECONDS + 0.1)  # for what was killed last
    left = await _outstanding(quota)
    await quota.aclose()
    await redis.aclose()
    ended: Counter[str] = sum((gateway.ended for gateway in gateways), Counter())
    return {
        "requests": ended.total(),
        "ended": dict(ended),
        "gateways_killed": sum(gateway.kills for gateway in gateways),
        "seconds": round(seconds, 1),
        "requests_per_second": round(ended.total() / seconds),
        "places": quota_worker.PLACES,
        "most_in_flight_seen": most,
        "left": asdict(Outstanding(*(sum(each) for each in zip(*(astuple(one) for one in left), strict=True)))),
    }


def run(requests: int = 1_000_000, lives: tuple[int, int] = KILLED_AFTER) -> dict[str, Any]:
    """`lives`: after how many of its requests, least and most, a gateway is killed. `left` must be zero throughout, and
    `most_in_flight_seen` at most `places`."""
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            return asyncio.run(_measure(server.url, requests, lives))
        finally:
            server.stop()


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000), indent=2))
