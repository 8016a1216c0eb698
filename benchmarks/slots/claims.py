"""Ten gateways are asked for one cold adapter at once: it is fetched once."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.figures import Figure
from benchmarks.slots.client import Client
from benchmarks.slots.registry import held_anywhere
from scripts.stack.config import DEMO_NAME
from tests.support.fleet import names_of, reading
from tests.support.stack import Stack

PROMPT = tuple(range(40, 56))


def loads_once(
    stack: Stack, key: str, redis: Any, digests: dict[str, str], rounds: int, note: Callable[[str], None]
) -> list[Figure]:
    """`digests`: by adapter name, most of them held by no engine."""
    urls = [stack.services[name].health.rpartition("/")[0] for name in names_of(stack, "gateway")]
    engines = names_of(stack, "engine")
    asyncio.run(_ask_all(urls, key, DEMO_NAME))  # a gateway's first request takes longer than an adapter's load
    fetched = []
    for number in range(rounds):
        note(f"round {number + 1} of {rounds}")
        held = held_anywhere(redis)
        name = next((name for name, digest in digests.items() if digest not in held), None)
        if name is None:
            raise RuntimeError(f"engines hold all of {len(digests)} adapters: there is none to ask for")
        before = reading(stack, engines, "lora_loads_total", tier="host")
        asyncio.run(_ask_all(urls, key, f"{DEMO_NAME}@{name}"))
        fetched.append(reading(stack, engines, "lora_loads_total", tier="host") - before)
    if min(fetched) < 1:
        raise RuntimeError(f"engines counted {fetched} fetches: an adapter came that nobody fetched")
    detail = {"gateways": len(urls), "rounds": fetched}
    return [Figure(f"fetches of an adapter that {len(urls)} gateways want at once", max(fetched), "", 1, detail=detail)]


async def _ask_all(urls: Sequence[str], key: str, model: str) -> None:
    answers = await asyncio.gather(*(Client(url, key).ask(model, PROMPT, 2) for url in urls))
    if failed := [answer.failure for answer in answers if answer.failure]:
        raise RuntimeError(f"{len(failed)} of {len(urls)} gateways did not answer: {failed[0]}")
