"""S-LoRA's trace on two engines: what is answered, and from which tier its adapters came."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.figures import Figure
from benchmarks.slots.client import Answer, Client
from benchmarks.slots.trace import Arrival
from scripts.stack.config import DEMO_NAME
from tests.support.fleet import names_of, reading
from tests.support.stack import Stack

PROMPT, OUTPUT = (8, 48), (4, 16)  # tokens, the least and the most
VOCAB = (10, 384)
TIERS = ("gpu", "host")
# Settings under which a thousand adapters are far more than any tier holds, and come through all of them.
ROOM = {
    "CHORUS_MAX_ADAPTERS": "8",
    "CHORUS_HOST_ADAPTER_MEMORY": "0.01",
    "CHORUS_STORE_MEMORY": "0.05",
    "CHORUS_ADAPTER_VOLUME": "",
    "CHORUS_MAX_NUM_SEQS": "32",
}


def name_of(index: int) -> str:
    return f"a{index}"


@dataclass(frozen=True, slots=True)
class Played:
    alpha: float
    policy: str
    answers: tuple[Answer, ...]
    seconds: float
    hits: dict[str, float]  # by tier; what the engines had when a request came
    misses: float
    store_hits: float
    store_misses: float

    def figures(self) -> list[Figure]:
        label = f"alpha {self.alpha:g}, {self.policy}"
        asked, fetched = sum(self.hits.values()) + self.misses, self.store_hits + self.store_misses
        assert asked >= len(self.answers), f"engines counted {asked:g} of {len(self.answers)} requests"
        detail = {"requests": len(self.answers), "seconds": round(self.seconds, 1)}
        failed = [answer for answer in self.answers if answer.failure]
        first = sorted(answer.first_token for answer in self.answers if answer.times)
        return [
            Figure(f"requests that failed, {label}", len(failed), "", 0, detail=detail | _sample(failed)),
            Figure(f"GPU hits, {label}", self.hits["gpu"] / asked, detail=detail),
            Figure(f"host memory hits, {label}", self.hits["host"] / asked),
            Figure(f"engine misses, {label}", self.misses / asked),
            Figure(f"store memory hits among misses, {label}", self.store_hits / fetched),
            Figure(f"first token median, {label}", first[len(first) // 2] * 1e3 if first else 0.0, "ms"),
        ]


def _sample(failed: Sequence[Answer]) -> dict[str, str]:
    return {"example": failed[0].failure[:300]} if failed else {}


async def play(url: str, key: str, arrivals: Sequence[Arrival], seed: int, note: Callable[[str], None]) -> list[Answer]:
    """Every request when the trace says so, whatever became of those before it."""
    client, draw = Client(url, key), random.Random(seed)
    tasks: list[asyncio.Task[Answer]] = []
    began = time.perf_counter()
    for arrival in arrivals:
        prompt = [draw.randrange(*VOCAB) for _ in range(draw.randint(*PROMPT))]
        output = draw.randint(*OUTPUT)
        if (delay := began + arrival.at - time.perf_counter()) > 0:
            await asyncio.sleep(delay)
        model = f"{DEMO_NAME}@{name_of(arrival.adapter_index)}"
        tasks.append(asyncio.create_task(client.ask(model, prompt, output, names=True)))
        note(f"{len(tasks)} of {len(arrivals)} requests")
    return list(await asyncio.gather(*tasks))


def restart(stack: Stack, policy: str, *, placement: bool) -> None:
    """Engines and store with empty memories and this policy. Without placement nothing comes before it is asked for."""
    stack.environment["CHORUS_EVICTION_POLICY"] = policy
    stack.environment["CHORUS_PLACEMENT"] = "on" if placement else "off"
    names = [*names_of(stack, "engine"), *names_of(stack, "adapter-store")]
    for name in names:
        stack.processes[name].terminate()
    for name in names:
        stack.processes[name].wait(timeout=30)
    stack.start(*names)
    stack.await_healthy()


def run(
    stack: Stack,
    key: str,
    arrivals: Sequence[Arrival],
    *,
    alpha: float,
    policy: str,
    placement: bool,
    note: Callable[[str], None],
) -> Played:
    restart(stack, policy, placement=placement)
    engines, stores = names_of(stack, "engine"), names_of(stack, "adapter-store")
    began = time.perf_counter()
    answers = asyncio.run(play(stack.url, key, arrivals, seed=round(alpha * 100), note=note))
    return Played(
        alpha=alpha,
        policy=f"{policy} and placement" if placement else policy,
        answers=tuple(answers),
        seconds=time.perf_counter() - began,
        hits={tier: reading(stack, engines, "lora_hits_total", tier=tier) for tier in TIERS},
        misses=reading(stack, engines, "lora_misses_total"),
        store_hits=reading(stack, stores, "blob_cache_hits_total"),
        store_misses=reading(stack, stores, "blob_cache_misses_total"),
    )
