"""One gateway's part of `benchmarks.gateway.quota`: requests that reserve, run for a moment and settle, through the
gateway's own code, and end in every way there is.

usage: python -m benchmarks.gateway.quota_worker <redis url> <lease, s> <requests> <seed>

Prints the ways in which its requests ended, as JSON, after every `REPORT` of them.
"""

import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import uvloop
from redis.exceptions import RedisError
from starlette.requests import ClientDisconnect
from starlette.types import Message

from chorus_gateway.api.exchange import while_connected
from chorus_gateway.errors import GatewayError
from chorus_gateway.quota import RedisQuota, SettlesBehind
from chorus_gateway.quota.base import Quota, Subject, SubjectKind, Used, Wanted
from chorus_gateway.reserving import reserved
from chorus_gateway.values import Limits
from tests.gateway.support.redis_server import redis_client

TENANTS = 6
AT_ONCE = 48  # requests of one worker, so that with several the places are always fought for
PLACES = 12  # of each tenant
REPORT = 200
TIMEOUT = 10.0  # of Redis: the machine may be busy, and nothing here measures how fast it answers
MANY = 10**12


@dataclass(frozen=True, slots=True)
class Ending:
    """What becomes of a request: after `seconds` it has its answer, its client leaves, or its task is cancelled."""

    how: str
    seconds: float


def subjects_of(dice: random.Random) -> tuple[Subject, ...]:
    name = tenant_name(dice.randrange(TENANTS))
    limits = Limits(
        requests_per_minute=10**9,
        tokens_per_minute=10**9,
        tokens_per_day=MANY,
        concurrent_requests=PLACES,
        budget=MANY,
    )
    key = Subject(SubjectKind.KEY, f"key{dice.randrange(3)}", Limits(tokens_per_day=MANY))
    adapter = Subject(SubjectKind.ADAPTER, f"{name}/a{dice.randrange(3)}", Limits(concurrent_requests=PLACES // 2))
    return (Subject(SubjectKind.TENANT, name, limits), key, *((adapter,) if dice.random() < 0.5 else ()))


def tenant_name(number: int) -> str:
    return f"tenant{number}"


def ending(dice: random.Random) -> Ending:
    how = dice.choices(("answered", "disconnected", "cancelled"), (6, 2, 2))[0]
    # Some leave before their reservation can be there.
    return Ending(how, 0.0 if dice.random() < 0.2 else dice.expovariate(1 / 0.005))


async def request(quota: Quota, dice: random.Random) -> str:
    """How it ended."""
    subjects = subjects_of(dice)
    wanted = Wanted("r", subjects[0].id, subjects, tokens=dice.randrange(1, 500), cost=dice.randrange(500))
    end = ending(dice)
    used = Used(int(wanted.tokens * dice.random()), int(wanted.cost * dice.random()))

    async def generate() -> None:
        async with reserved(quota, wanted, lambda: used):
            await asyncio.sleep(end.seconds if end.how == "answered" else 60)

    async def receive() -> Message:
        await asyncio.sleep(end.seconds if end.how == "disconnected" else 60)
        return {"type": "http.disconnect"}

    task = asyncio.create_task(while_connected({}, receive, generate()))
    if end.how == "cancelled":
        await asyncio.wait([task], timeout=end.seconds)
        task.cancel()
    try:
        await task
    except ClientDisconnect:
        return "disconnected"
    except GatewayError:
        return "refused"
    except (RedisError, OSError):
        return "redis_away"  # a connection that was not made in time: the gateway would have gone on by itself
    except asyncio.CancelledError:
        return "cancelled"
    return "answered"


async def work(url: str, lease: float, requests: int, seed: int) -> None:
    redis = redis_client(url)
    quota = RedisQuota(redis, lease=lease, timeout=TIMEOUT, patience=0.0)
    keeping = asyncio.create_task(quota.keep_leases())
    ended: Counter[str] = Counter()
    numbers = iter(range(requests))
    settling = SettlesBehind(quota)
    await asyncio.gather(*(_client(settling, numbers, ended, random.Random(f"{seed}.{at}")) for at in range(AT_ONCE)))
    _report(ended)
    keeping.cancel()
    await asyncio.wait([keeping])
    await settling.aclose()
    await quota.aclose()
    await redis.aclose()


async def _client(quota: Quota, numbers: Iterator[int], ended: Counter[str], dice: random.Random) -> None:
    for _ in numbers:
        ended[await request(quota, dice)] += 1
        if ended.total() >= REPORT:
            _report(ended)


def _report(ended: Counter[str]) -> None:
    sys.stdout.write(json.dumps(ended) + "\n")
    sys.stdout.flush()
    ended.clear()


if __name__ == "__main__":
    uvloop.run(work(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
