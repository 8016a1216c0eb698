"""Adapters as a fleet, on this machine's CPU with real processes: what is promised of them, measured.

usage: python -m benchmarks.slots [--quick] [--only traffic,pacing,...] [--results FOLDER]

Parts: traffic (S-LoRA's trace over a thousand adapters on two engines, demand beside lru), claims (ten gateways, one
cold adapter), fresh (publication to use, a router's knowledge), flush (Redis loses all), pacing (tokens beside loads),
cold (first token of what no engine has). What answers is judged by transformers and PEFT in the same run. Writes
slots.json and slots.png. The exit status is 1 when a figure does not hold.
"""

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.slots import adapters, claims, cold, flush, freshness, pacing, traffic
from benchmarks.slots.client import Answer, Client
from benchmarks.slots.figures import RESULTS, Figure, write
from benchmarks.slots.oracle import Oracle
from benchmarks.slots.plan import FULL, QUICK, Plan
from benchmarks.slots.register import register
from benchmarks.slots.registry import held_anywhere
from benchmarks.slots.trace import trace
from scripts.progress import Progress, progress
from scripts.stack.config import DEMO, DEMO_NAME
from tests.support.adapters import Adapter
from tests.support.fleet import names_of, redis_of, running_fleet, widen
from tests.support.stack import Stack, Tenant

TENANT = "fleet"
ON_FLEET = ("traffic", "claims", "fresh", "flush")
ON_ONE = ("pacing", "cold")
PARTS = (*ON_FLEET, *ON_ONE)


class Bench:
    """The figures so far, and every answer that the oracle is to judge."""

    def __init__(self, plan: Plan, work: Path, parts: frozenset[str]) -> None:
        self.plan = plan
        self.parts = parts
        self.figures: list[Figure] = []
        self._work = work
        self._answers: list[Answer] = []
        self._folders: dict[str, Path] = {}

    def run(self) -> None:
        if self.parts.intersection(ON_FLEET):
            self._fleet()
        if self.parts.intersection(ON_ONE):
            self._one()
        if self._answers:
            self._judge()

    def say(self, *figures: Figure) -> None:
        for figure in figures:
            print(f"  {figure}", flush=True)
        self.figures += figures

    def _fleet(self) -> None:
        """Two engines, a thousand adapters."""
        with self._stack("two engines", traffic.ROOM, engines=2) as (stack, tenant):
            digests = self._register(stack, tenant, {traffic.name_of(i): i for i in range(self.plan.adapters)})
            if "traffic" in self.parts:
                self._traffic(stack, tenant)
            if "fresh" in self.parts:
                self._fresh(stack, tenant)
            if "flush" in self.parts:
                self._flush(stack, tenant)
            if "claims" in self.parts:
                self._claims(stack, tenant, digests)

    def _traffic(self, stack: Stack, tenant: Tenant) -> None:
        for alpha in self.plan.alphas:
            arrivals = trace(1, self.plan.adapters, alpha=alpha, rate=self.plan.rate, seconds=self.plan.seconds)
            for policy in ("demand", "lru"):
                with progress(f"trace of alpha {alpha:g}, {policy}") as step:
                    played = traffic.run(stack, tenant.key, arrivals, alpha=alpha, policy=policy, note=_note(step))
                self.say(*played.figures())
                self._answers += played.answers

    def _fresh(self, stack: Stack, tenant: Tenant) -> None:
        async def publish(number: int) -> str:
            named = [(f"fresh{number}", adapters.small(10_000 + number))]
            digests = await asyncio.to_thread(register, stack, tenant.name, named, lambda: None)
            return digests[f"fresh{number}"]

        addresses = [seen["address"] for seen in _announced(stack)]
        with progress("publication to use") as step:
            measured = freshness.measure(
                addresses, stack.environment["CHORUS_SERVICE_TOKEN"], publish, self.plan.fresh_rounds, _note(step)
            )
            self.say(*asyncio.run(measured))

    def _flush(self, stack: Stack, tenant: Tenant) -> None:
        models = [f"{DEMO_NAME}@{traffic.name_of(index)}" for index in range(0, self.plan.adapters, 20)]
        client = Client(stack.url, tenant.key)
        with progress("FLUSHALL during load") as step:
            answers, whole = asyncio.run(flush.flush_during_load(client, models, redis_of(stack), _note(step)))
        self.say(*flush.figures(answers, whole))
        self._answers += answers

    def _claims(self, stack: Stack, tenant: Tenant, digests: Mapping[str, str]) -> None:
        with progress(f"{self.plan.gateways} gateways") as step:
            widen(stack, {"gateway": self.plan.gateways})
            started = [name for name in names_of(stack, "gateway") if name not in stack.processes]
            stack.start(*started)
            stack.await_healthy(*started)
            shuffled = random.Random(2).sample(sorted(digests.items()), len(digests))
            self.say(
                *claims.loads_once(
                    stack, tenant.key, redis_of(stack), dict(shuffled), self.plan.claim_rounds, _note(step)
                )
            )

    def _one(self) -> None:
        """One engine, so that what loads and what decodes share one."""
        room = {"CHORUS_HOST_ADAPTER_MEMORY": "0.03", "CHORUS_MAX_ADAPTERS": "8"}
        with self._stack("one engine", room, engines=1) as (stack, tenant):
            if "pacing" in self.parts:
                names = {f"p{i}": 20_000 + i for i in range(pacing.RESIDENT + 120)}
                self._register(stack, tenant, names)
                models = [f"{DEMO_NAME}@{name}" for name in names]
                work = pacing.Pacing(
                    Client(stack.url, tenant.key),
                    models[: pacing.RESIDENT],
                    models[pacing.RESIDENT :],
                    tokens=self.plan.stream_tokens,
                )
                with progress("tokens beside loads") as step:
                    rounds = asyncio.run(work.rounds(self.plan.pacing_rounds, _note(step)))
                self.say(*pacing.figures(rounds))
            if "cold" in self.parts:
                self._cold(stack, tenant)

    def _cold(self, stack: Stack, tenant: Tenant) -> None:
        """Half of them are fetched by us and half by the engine; none of either is in its memory."""
        with progress("first tokens of cold adapters") as step:
            count = 2 * self.plan.cold + 12  # more than host memory can have been given beforehand
            named = [(f"c{number}", adapters.large(number)) for number in range(count)]
            digests = register(stack, tenant.name, named, lambda: None)
            held = held_anywhere(redis_of(stack))
            absent = [name for name, digest in digests.items() if digest not in held]
            ours, engines = absent[: self.plan.cold], absent[self.plan.cold : 2 * self.plan.cold]
            address, token = stack.environment["CHORUS_STORE_ADDRESS"], stack.environment["CHORUS_SERVICE_TOKEN"]
            rate, sizes = cold.throughput(address, token, [digests[name] for name in ours])
            models = [(f"{DEMO_NAME}@{name}", sizes[0]) for name in engines]
            found = asyncio.run(cold.first_tokens(Client(stack.url, tenant.key), models, _note(step)))
        self.say(*cold.figures(found, rate))

    @contextmanager
    def _stack(self, title: str, settings: Mapping[str, str], *, engines: int) -> Iterator[tuple[Stack, Tenant]]:
        state = self._work / title.replace(" ", "-")
        with ExitStack() as held:
            with progress(f"start {title}"):
                stack = held.enter_context(running_fleet(state, settings, engines=engines, adapters=False))
            yield stack, stack.new_tenant(TENANT)

    def _register(self, stack: Stack, tenant: Tenant, names: Mapping[str, int]) -> dict[str, str]:
        """Upload and keep for the oracle."""
        with progress(f"register {len(names)} adapters") as step:
            done = iter(range(1, len(names) + 1))

            def made() -> Iterator[tuple[str, Adapter]]:
                for name, index in names.items():
                    adapter = adapters.small(index)
                    self._folders[name] = self._work / "peft" / name
                    adapters.write(adapter, self._folders[name])
                    yield name, adapter

            def uploaded() -> None:
                step.note = f"{next(done)} of {len(names)}"

            began = time.perf_counter()
            digests = register(stack, tenant.name, made(), uploaded)
        self.say(Figure(f"uploads of {len(names)} adapters", len(names) / (time.perf_counter() - began), "/s"))
        return digests

    def _judge(self) -> None:
        answered = [answer for answer in self._answers if not answer.failure]
        oracle = Oracle(DEMO / "model", self._folders.__getitem__, os.cpu_count() or 1)
        with progress("transformers and PEFT") as step:
            verdict = oracle.judge(answered, _note(step))
        detail = {"answers": verdict.answers, "examples": verdict.wrong[:5]}
        self.say(
            Figure("answers that are not the oracle's", len(verdict.wrong), "", 0, detail=detail),
            Figure("answers with a tie", verdict.tied, "", max(1, verdict.answers // 1000)),
            Figure("answers that the base would not give", verdict.differing, "", 0.95, least=True),
        )


def _note(step: Progress) -> Callable[[str], None]:
    def note(text: str) -> None:
        step.note = text

    return note


def _announced(stack: Stack) -> list[dict[str, str]]:
    redis = redis_of(stack)
    found = (redis.hgetall(f"chorus:engine:{{{engine}}}") for engine in redis.zrange("chorus:engines", 0, -1))
    return [fields for fields in found if fields]


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a little of everything, to see that it runs")
    parser.add_argument("--only", default="", help=f"parts, with commas between them: {','.join(PARTS)} (all)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for slots.json and slots.png")
    chosen = parser.parse_args(arguments)
    if unknown := set(filter(None, chosen.only.split(","))) - set(PARTS):
        parser.error(f"--only names {', '.join(sorted(unknown))}; parts are {', '.join(PARTS)}")
    return chosen


def main(arguments: list[str]) -> int:
    chosen = parse(arguments)
    parts = frozenset(filter(None, chosen.only.split(","))) or frozenset(PARTS)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="chorus-slots-") as work:
        bench = Bench(QUICK if chosen.quick else FULL, Path(work), parts)
        try:
            bench.run()
        finally:
            write(bench.figures, time.perf_counter() - began, chosen.results)
    missed = [figure for figure in bench.figures if figure.holds is False]
    print(f"{len(bench.figures)} figures in {time.perf_counter() - began:.0f} s; missed: {len(missed)}")
    for figure in missed:
        print(f"  {figure}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
