"""The parts of the measurement, each on a stack of its own or on the two engines' with a thousand adapters."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.slots import adapters, claims, cold, flush, freshness, laws, pacing, traffic
from benchmarks.slots.client import Answer, Client
from benchmarks.slots.operations import Operations, Outcome
from benchmarks.slots.oracle import Oracle
from benchmarks.slots.plan import Plan
from benchmarks.slots.register import register
from benchmarks.slots.registry import engines, held_anywhere
from benchmarks.slots.trace import trace
from scripts.progress import Progress, progress
from scripts.stack.config import DEMO, DEMO_NAME
from tests.support.adapters import Adapter
from tests.support.fleet import names_of, redis_of, running_fleet, widen
from tests.support.stack import Stack, Tenant

TENANT = "fleet"
# Policies side by side with nothing else at work, and what is on unless it is turned off.
WAYS = (("demand", False), ("lru", False), ("demand", True))
ON_FLEET = ("traffic", "fresh", "flush", "claims")
ON_ONE = ("pacing", "cold")
OPERATIONS = "operations"
PARTS = (*ON_FLEET, *ON_ONE, OPERATIONS)


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
        if OPERATIONS in self.parts:
            self._operate()
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
            for policy, placement in WAYS:
                with progress(f"trace of alpha {alpha:g}, {policy}") as step:
                    played = traffic.run(
                        stack, tenant.key, arrivals, alpha=alpha, policy=policy, placement=placement, note=_note(step)
                    )
                self.say(*played.figures())
                self._answers += played.answers

    def _fresh(self, stack: Stack, tenant: Tenant) -> None:
        async def publish(number: int) -> str:
            named = [(f"fresh{number}", adapters.small(10_000 + number))]
            digests = await asyncio.to_thread(register, stack, tenant.name, named, lambda: None)
            return digests[f"fresh{number}"]

        addresses = [seen.fields["address"] for seen in engines(redis_of(stack)).values()]
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
            traffic.restart(stack, "demand", placement=False)  # what is fetched is fetched for the gateways alone
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
        """Half of them are fetched by us and half by the engine, over gRPC; it has none of either in its memory."""
        with progress("first tokens of cold adapters") as step:
            stack.environment["CHORUS_ADAPTER_VOLUME"] = ""
            stack.restart("engine")
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

    def _operate(self) -> None:
        """Two engines, two stores, and kills."""
        folder = self._work / "operations"
        with (
            self._stack("a fleet to be killed", traffic.ROOM, engines=2, stores=2) as (stack, tenant),
            progress(f"{self.plan.operations} operations") as step,
        ):
            work = Operations(stack, tenant, folder, seed=1)
            outcome = asyncio.run(work.run(self.plan.operations, _note(step)))
            unlawful = [
                *laws.broken(stack),
                *laws.strange_catalog(stack, tenant.name, work.catalog),
                *laws.complaints(stack),
            ]
        for answer in outcome.answers:
            digest = answer.model.partition("@")[2]
            self._folders[digest] = folder / digest
        self._answers += outcome.answers
        self.say(*_operated(outcome, unlawful))

    @contextmanager
    def _stack(
        self, title: str, settings: Mapping[str, str], *, engines: int, stores: int = 1
    ) -> Iterator[tuple[Stack, Tenant]]:
        state = self._work / title.replace(" ", "-")
        with ExitStack() as held:
            with progress(f"start {title}"):
                stack = held.enter_context(
                    running_fleet(state, settings, adapters=False, engines=engines, stores=stores)
                )
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
        oracle = Oracle(DEMO / "model", self._folders.__getitem__)
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


def _operated(outcome: Outcome, unlawful: list[str]) -> list[Figure]:
    counts = {"operations": outcome.done, "killed": outcome.killed, "refused": outcome.refused}
    detail = {name: dict(count) for name, count in counts.items()} | {"answers": len(outcome.answers)}
    return [
        Figure("random operations", sum(outcome.done.values()), detail=detail),
        Figure("operations that went wrong", len(outcome.wrong), "", 0, detail={"examples": outcome.wrong[:5]}),
        Figure("requests that failed while their engine or store was down", outcome.excused),
        Figure("laws broken after random operations", len(unlawful), "", 0, detail={"laws": unlawful[:10]}),
    ]
