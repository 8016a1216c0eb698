"""Redis loses everything while requests run: none fails, and what Redis holds is whole again soon."""

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.figures import Figure
from benchmarks.slots.client import Answer, Client
from benchmarks.slots.registry import engines

WHOLE_WITHIN = 5.0  # seconds
AT_ONCE = 6
BEFORE, AFTER = 3.0, 7.0  # seconds of load


async def flush_during_load(
    client: Client, models: Sequence[str], redis: Any, note: Callable[[str], None]
) -> tuple[list[Answer], dict[str, float]]:
    """The answers, and how many seconds after the flush each part of the state was whole."""
    turn, stop = itertools.cycle(models), asyncio.Event()
    load = [asyncio.create_task(_load(client, turn, stop, number)) for number in range(AT_ONCE)]
    note("load")
    await asyncio.sleep(BEFORE)
    known = set(engines(redis))
    note("flushed")
    redis.flushall()
    whole = await _watch(redis, known)
    stop.set()
    answers = [answer for each in await asyncio.gather(*load) for answer in each]
    return answers, whole


async def _load(client: Client, models: "itertools.cycle[str]", stop: asyncio.Event, seed: int) -> list[Answer]:
    draw, answers = random.Random(seed), []
    while not stop.is_set():
        prompt = [draw.randrange(10, 384) for _ in range(12)]
        answers.append(await client.ask(next(models), prompt, 12, names=True))
    return answers


async def _watch(redis: Any, known: set[str]) -> dict[str, float]:
    """Looks every 50 ms, for as long as the load is to go on."""
    flushed = time.perf_counter()
    whole: dict[str, float] = {}
    while (since := time.perf_counter() - flushed) < AFTER:
        for part, there in _parts(redis, known).items():
            if there:
                whole.setdefault(part, since)
        await asyncio.sleep(0.05)
    return whole


def _parts(redis: Any, known: set[str]) -> dict[str, bool]:
    seen = engines(redis)
    complete = known <= set(seen)
    return {
        "engines": complete,
        "residency": complete and all(seen[engine].residents for engine in known),
        "demand": bool(list(redis.scan_iter("chorus:demand:*"))),
        "placer": bool(redis.exists("chorus:placer")),
    }


def figures(answers: Sequence[Answer], whole: dict[str, float]) -> list[Figure]:
    failed = [answer.failure for answer in answers if answer.failure]
    parts = ("engines", "residency", "demand", "placer")
    detail = {"requests": len(answers)} | ({"example": failed[0][:300]} if failed else {})
    last = max(whole.get(part, float("inf")) for part in parts)
    return [
        Figure("requests that fail in a FLUSHALL", len(failed), "", 0, detail=detail),
        Figure("state whole after a FLUSHALL", last, "s", WHOLE_WITHIN, detail=whole),
    ]
