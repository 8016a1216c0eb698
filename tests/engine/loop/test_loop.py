"""The loop with the real scheduler and a runner that answers at once."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch

from chorus_engine.adapters import AdapterSupply, HostAdapter, HostCache
from chorus_engine.adapters.arena import ALIGNMENT, Span
from chorus_engine.adapters.eviction import Demand
from chorus_engine.adapters.host import Weights
from chorus_engine.core.errors import AdapterNotFound, AdapterUnavailable, AdapterUnusable, InvalidRequest
from chorus_engine.core.load import Load
from chorus_engine.core.plan import StepPlan, StepResult
from chorus_engine.core.request import FinishReason, Output, Request, SampledToken, SamplingParams
from chorus_engine.core.spec import AdapterFootprint, Capacity
from chorus_engine.loop import EngineLoop
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
SECONDS = 10.0


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
    def __init__(self, adapters: int = 10) -> None:
        """adapters: that host memory has room for."""
        self.wanted: queue.Queue[str] = queue.Queue()
        self.broken = threading.Event()
        self.steps: list[float] = []
        self.loaded: list[float] = []
        self._outputs: queue.Queue[Output] = queue.Queue()
        self._kept: list[Output] = []
        self.loads: list[Load] = []
        self.scheduler = Scheduler(CAPACITY)
        self.cache = HostCache(
            adapters * ALIGNMENT, Demand(), self.scheduler.awaits_adapter, self.scheduler.adapter_evicted
        )
        self.runner = RunnerFake(self.cache)
        self.loop = EngineLoop(
            self.scheduler,
            self.runner,
            AdapterSupply(
                self.cache,
                start=lambda digest, urgent: self.wanted.put(digest),
                hasten=lambda digest: None,
                priority=self.scheduler.priority,
                shape=shape,
            ),
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

    def _publish(self, outputs: tuple[Output, ...], load: Load) -> None:
        self.loads.append(load)
        for output in outputs:
            self._outputs.put(output)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.loop.stop()


def request(request_id: str, max_tokens: int = 5, **fields: object) -> Request:
    plain = Request(request_id, (1, 2, 3), SamplingParams(max_tokens), arrival=time.monotonic())
    return replace(plain, **fields)  # type: ignore[arg-type]  # any of Request's


def shape(footprint: AdapterFootprint, span: Span) -> HostAdapter:
    return HostAdapter(footprint.digest, footprint, Weights(torch.empty(span.bytes, dtype=torch.uint8), {}))


def footprint(digest: str, rank: int = 8) -> AdapterFootprint:
    return AdapterFootprint(digest, ((0, "self_attn.q_proj", rank),))


def test_a_request_runs_to_its_end(bench: Bench) -> None:
    bench.loop.submit(request("a"))
    output, tokens = bench.end_of("a")
    assert output.finish is FinishReason.LENGTH
    assert tokens == [7] * 5
    assert len(bench.steps) == len(bench.runner.plans)
    bench.loop.ask(bench.scheduler.check).result(SECONDS)


def test_an_idle_loop_wakes_at_once(bench: Bench) -> None:
    time.sleep(0.3)
    began = time.monotonic()
    bench.loop.submit(request("a", max_tokens=1))
    bench.end_of("a")
    assert time.monotonic() - began < 1.0, "nothing but the submit can have woken it"


def test_the_last_load_told_is_that_of_an_idle_engine(bench: Bench) -> None:
    bench.loop.submit(request("a"))
    bench.end_of("a")
    bench.loop.ask(lambda: None).result(SECONDS)
    assert (bench.loads[-1].running, bench.loads[-1].waiting) == (0, 0)
    assert bench.loads[-1].free_blocks == CAPACITY.num_blocks


def test_a_request_that_cannot_be_served_fails_alone(bench: Bench) -> None:
    bench.loop.submit(request("long", max_tokens=1000))
    bench.loop.submit(request("good"))
    output, _ = bench.end_of("long")
    assert isinstance(output.error, InvalidRequest)
    assert bench.end_of("good")[1] == [7] * 5


def test_cancel_takes_effect_before_the_next_step(bench: Bench) -> None:
    bench.runner.seconds = 0.02
    bench.loop.submit(request("a", max_tokens=90))
    time.sleep(0.1)
    bench.loop.cancel("a")
    bench.loop.cancel("unknown")
    output, tokens = bench.end_of("a")
    assert output.finish is FinishReason.CANCELLED
    assert 0 < len(tokens) < 20


def test_a_deadline_ends_a_request_while_nothing_runs(bench: Bench) -> None:
    now = time.monotonic()
    bench.loop.submit(request("a", adapter="ab", deadline=now + 0.1))
    output, tokens = bench.end_of("a")
    assert output.finish is FinishReason.DEADLINE
    assert tokens == []
    assert 0.1 <= time.monotonic() - now < 1.0


def test_an_adapter_is_wanted_once_and_brings_its_requests_to_run(bench: Bench) -> None:
    for name in "ab":
        bench.loop.submit(request(name, adapter="xy"))
    assert bench.wanted.get(timeout=SECONDS) == "xy"
    bench.loop.submit(request("base"))
    assert bench.end_of("base")[1] == [7] * 5
    bench.bring("xy")
    assert bench.end_of("a")[1] == bench.end_of("b")[1] == [7] * 5
    assert bench.wanted.empty()


def test_an_adapter_that_fails_ends_its_requests_alone(bench: Bench) -> None:
    bench.loop.submit(request("a", adapter="xy"))
    bench.wanted.get(timeout=SECONDS)
    error = AdapterNotFound("there is none.")
    bench.loop.adapter_failed("xy", error)
    assert bench.end_of("a")[0].error is error
    bench.loop.submit(request("base"))
    assert bench.end_of("base")[1] == [7] * 5


def test_an_adapter_larger_than_the_pool_ends_its_requests(bench: Bench) -> None:
    bench.loop.submit(request("a", adapter="xy"))
    bench.wanted.get(timeout=SECONDS)
    bench.bring("xy", rank=64)
    assert isinstance(bench.end_of("a")[0].error, AdapterUnusable)


def test_an_adapter_that_host_memory_dropped_is_wanted_again() -> None:
    bench = Bench(adapters=1)
    for digest in ("one", "two", "one"):
        bench.loop.submit(request(digest, adapter=digest))
        assert bench.wanted.get(timeout=SECONDS) == digest
        bench.bring(digest)
        assert bench.end_of(digest)[1] == [7] * 5
    bench.loop.ask(bench.cache.check).result(SECONDS)
    bench.loop.stop()


def test_a_step_that_fails_ends_every_request_and_says_so(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.loop.submit(request("waits", adapter="xy"))
    bench.wanted.get(timeout=SECONDS)
    bench.runner.error = ValueError("a kernel broke")
    bench.loop.submit(request("runs"))
    for name in ("waits", "runs"):
        output, _ = bench.end_of(name)
        assert output.finish is FinishReason.ERROR
        assert isinstance(output.error, RuntimeError)
    assert bench.broken.wait(SECONDS)
    assert "a kernel broke" in caplog.text
    with pytest.raises(AdapterUnavailable, match="restarts"):
        bench.bring("xy")
    bench.loop.adapter_arrived("xy")
    bench.loop.cancel("runs")
    bench.loop.submit(request("late"))
    assert isinstance(bench.end_of("late")[0].error, RuntimeError), "no request is left without an end"


def test_questions_are_answered_between_steps(bench: Bench) -> None:
    assert bench.loop.ask(lambda: threading.current_thread().name).result(SECONDS) == "engine-loop"

    def fail() -> None:
        raise KeyError("no answer")

    with pytest.raises(KeyError):
        bench.loop.ask(fail).result(SECONDS)
    assert bench.loop.ask(lambda: 1).result(SECONDS) == 1


@pytest.mark.parametrize("threads", [8])
def test_many_threads_may_submit_and_cancel(bench: Bench, threads: int) -> None:
    def work(number: int) -> Callable[[], None]:
        def run() -> None:
            for i in range(20):
                bench.loop.submit(request(f"{number}-{i}", max_tokens=3))
                if i % 3 == 0:
                    bench.loop.cancel(f"{number}-{i}")

        return run

    workers = [threading.Thread(target=work(number)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    ends = [bench.end_of(f"{number}-{i}")[0].finish for number in range(threads) for i in range(20)]
    assert set(ends) <= {FinishReason.LENGTH, FinishReason.CANCELLED}
    assert ends.count(FinishReason.LENGTH) >= threads * 13
    bench.loop.ask(bench.scheduler.check).result(SECONDS)
