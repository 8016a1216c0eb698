"""The loop with the real scheduler and host memory, and a runner that answers at once."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

import torch

from chorus_engine.adapters import AdapterSupply, HostAdapter, HostCache
from chorus_engine.adapters.arena import ALIGNMENT, Span
from chorus_engine.adapters.eviction import Demand
from chorus_engine.adapters.host import Weights
from chorus_engine.core.commands import Command, Outcome, Verb
from chorus_engine.core.load import Held, Load, Tier
from chorus_engine.core.plan import StepPlan, StepResult
from chorus_engine.core.request import Output, Request, SampledToken, SamplingParams
from chorus_engine.core.spec import AdapterFootprint, Capacity
from chorus_engine.loop import EngineLoop, News
from chorus_engine.scheduler import Scheduler

CAPACITY = Capacity(
    max_model_len=100,
    max_num_seqs=4,
    max_num_batched_tokens=32,
    block_size=4,
    num_blocks=100,
    max_adapters=1,
    adapter_page_rows=8,
    adapter_pages=2,
)
SECONDS = 60.0


class Done:
    def __init__(self, result: StepResult) -> None:
        self._result = result

    def result(self) -> StepResult:
        return self._result


class RunnerFake:
    """Samples 7 for everybody; breaks or dawdles when told."""

    def __init__(self, host: HostCache) -> None:
        self.plans: list[StepPlan] = []
        self.error: Exception | None = None
        self.seconds = 0.0
        self._host = host

    def launch(self, plan: StepPlan) -> Done:
        if self.error is not None:
            raise self.error
        for load in plan.load:
            self._host.get(load.digest)
        self.plans.append(plan)
        time.sleep(self.seconds)
        sampled = tuple((SampledToken(7),) if row.sample else () for row in plan.rows)
        return Done(StepResult(plan.step, sampled, tuple(load.slot for load in plan.load)))


class Bench:
    def __init__(self, adapters: int = 10, capacity: Capacity = CAPACITY) -> None:
        """adapters: that host memory has room for."""
        self.wanted: queue.Queue[str] = queue.Queue()
        self.broken = threading.Event()
        self.steps: list[float] = []
        self.loaded: list[float] = []
        self._outputs: queue.Queue[Output] = queue.Queue()
        self._kept: list[Output] = []
        self.loads: list[Load] = []
        self.held: dict[str, Held] = {}
        self.told: list[dict[str, Held | None]] = []
        self.scheduler = Scheduler(capacity)
        self.cache = HostCache(
            adapters * ALIGNMENT, Demand(), self.scheduler.awaits_adapter, self.scheduler.adapter_evicted
        )
        self.runner = RunnerFake(self.cache)
        self.supply = AdapterSupply(
            self.cache,
            start=lambda digest, urgent: self.wanted.put(digest),
            hasten=lambda digest: None,
            priority=self.scheduler.priority,
            shape=shape,
        )
        self.loop = EngineLoop(
            self.scheduler,
            self.runner,
            self.supply,
            publish=self._publish,
            broken=self.broken.set,
            observer=self,
        )
        self.loop.start()

    def step(self, plan: StepPlan, seconds: float) -> None:
        self.steps.append(seconds)

    def adapter_loaded(self, seconds: float) -> None:
        self.loaded.append(seconds)

    def bring(self, digest: str, rank: int = 8) -> None:
        """As a fetch does."""
        self.loop.adapter_room(footprint(digest, rank), 10).result(SECONDS)
        self.loop.adapter_arrived(digest)

    def end_of(self, request_id: str) -> tuple[Output, list[int]]:
        """The last output of a request, and all its tokens."""
        tokens: list[int] = []
        while True:
            output = self._next(request_id)
            tokens.extend(token.token_id for token in output.tokens)
            if output.finish is not None:
                return output, tokens

    def _next(self, request_id: str) -> Output:
        for output in self._kept:
            if output.request_id == request_id:
                self._kept.remove(output)
                return output
        while (output := self._outputs.get(timeout=SECONDS)).request_id != request_id:
            self._kept.append(output)
        return output

    def obey(self, verb: Verb, digest: str, tier: Tier = Tier.GPU, until: float | None = None) -> "Future[Outcome]":
        outcome: Future[Outcome] = Future()
        self.loop.command(Command(verb, digest, tier, until), outcome.set_result)
        return outcome

    def settle(self) -> None:
        """Until the loop has nothing to do: what was told is what is."""
        for _ in range(3):
            self.loop.ask(lambda: None).result(SECONDS)

    def in_slots(self) -> set[str]:
        self.settle()
        return {digest for digest, held in self.held.items() if held.tier is Tier.GPU}

    def check(self) -> None:
        self.scheduler.check()
        self.supply.check()

    def _publish(self, news: News) -> None:
        self.loads.append(news.load)
        if news.adapters:
            self.told.append(dict(news.adapters))
        for digest, held in news.adapters.items():
            if held is None:
                self.held.pop(digest, None)
            else:
                self.held[digest] = held
        for output in news.outputs:
            self._outputs.put(output)


def request(request_id: str, max_tokens: int = 5, **fields: object) -> Request:
    plain = Request(request_id, (1, 2, 3), SamplingParams(max_tokens), arrival=time.monotonic())
    return replace(plain, **fields)  # type: ignore[arg-type]  # any of Request's


def shape(footprint: AdapterFootprint, span: Span) -> HostAdapter:
    return HostAdapter(footprint.digest, footprint, Weights(torch.empty(span.bytes, dtype=torch.uint8), {}))


def footprint(digest: str, rank: int = 8) -> AdapterFootprint:
    return AdapterFootprint(digest, ((0, "self_attn.q_proj", rank),))


def eventually(holds: Callable[[], object]) -> None:
    """Of the loop's thread, which sets no event for a test."""
    until = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)
