"""The engine's metrics, under the names that operators know."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from chorus_engine.core.errors import ConstraintRefused
from chorus_engine.core.load import Held, Load, Tier
from chorus_engine.core.plan import StepPlan
from chorus_engine.core.request import Output
from chorus_engine.telemetry.constraints import ConstraintMetrics
from chorus_engine.telemetry.speculation import SpeculationMetrics

_LATENCY = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
UTILIZATION_WINDOW = 10.0  # seconds


class Holdings(Protocol):
    """What the engine holds."""

    def in_tier(self, tier: Tier) -> tuple[Held, ...]: ...
    def pinned(self, tier: Tier) -> int: ...


class BusyShare:
    """Share of the last seconds spent in steps."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._steps: deque[tuple[float, float]] = deque()  # (end, seconds)
        self._began = clock()

    def add(self, seconds: float) -> None:
        self._steps.append((self._clock(), seconds))
        self._forget()

    def __call__(self) -> float:
        self._forget()
        window = min(UTILIZATION_WINDOW, max(self._clock() - self._began, 1e-9))
        return min(1.0, sum(seconds for _, seconds in tuple(self._steps)) / window)

    def _forget(self) -> None:
        while self._steps and self._steps[0][0] < self._clock() - UTILIZATION_WINDOW:
            self._steps.popleft()


class EngineMetrics:
    """One registry. `step` is called on the loop's thread, the rest on the event loop."""

    def __init__(self, utilization: Callable[[], float] | None = None) -> None:
        """`utilization`: the device's own figure, 0 to 1; by default the share of time spent in steps."""
        self.registry = registry = CollectorRegistry()
        self._busy = BusyShare()
        self._seen = Load(0, 0, False, 0, 0, 0, 0, 0)
        self._host_evictions = 0
        self._running = Gauge("num_requests_running", "Requests that hold a row.", registry=registry)
        self._waiting = Gauge("num_requests_waiting", "Requests that wait for a row.", registry=registry)
        self._kv = Gauge("kv_cache_usage_perc", "Share of KV blocks in use, 0 to 1.", registry=registry)
        gpu = Gauge("gpu_utilization", "Share of time that the device computes, 0 to 1.", registry=registry)
        gpu.set_function(utilization or self._busy)
        self._preemptions = Counter("num_preemptions", "Requests preempted.", registry=registry)
        self._swaps = Counter("num_swaps", "Preemptions to host memory.", registry=registry)
        self._cached = Counter("prefix_cache_hits", "Prompt tokens from the prefix cache.", registry=registry)
        self._memory = Gauge("device_memory_bytes", "Memory that the engine set aside.", ["use"], registry=registry)
        self._prompt = Counter("prompt_tokens", "Prompt tokens of ended requests.", registry=registry)
        self._generated = Counter("generation_tokens", "Tokens generated.", registry=registry)
        self._finished = Counter("request_finished", "Requests ended.", ["finished_reason"], registry=registry)
        self._iteration = Histogram(
            "iteration_tokens_total", "Tokens computed by one step.", buckets=_TOKENS, registry=registry
        )
        self._step = Histogram("iteration_seconds", "Duration of one step.", buckets=_LATENCY, registry=registry)
        self._queued = self._latency("request_queue_time_seconds", "From receipt until first scheduled.")
        self._prefill = self._latency("request_prefill_time_seconds", "From first scheduled until the first token.")
        self._decode = self._latency("request_decode_time_seconds", "From the first token until the end.")
        self._resident = Gauge("lora_resident", "Adapters held.", ["tier"], registry=registry)
        self._resident_bytes = Gauge("lora_resident_bytes", "Bytes of adapters held.", ["tier"], registry=registry)
        self._pinned = Gauge("lora_pinned", "Adapters that are never evicted.", ["tier"], registry=registry)
        self._hits = Counter("lora_hits", "Requests whose adapter was there.", ["tier"], registry=registry)
        self._misses = Counter("lora_misses", "Requests whose adapter had to be fetched.", registry=registry)
        self._loads = Counter("lora_loads", "Adapters brought there.", ["tier"], registry=registry)
        self._evictions = Counter("lora_evictions", "Adapters that left.", ["tier"], registry=registry)
        self._load_seconds = Histogram(
            "lora_load_seconds", "Bringing an adapter there.", ["tier"], buckets=_LATENCY, registry=registry
        )
        self._fetch = Histogram(
            "lora_fetch_seconds", "Fetching an adapter.", ["result"], buckets=_LATENCY, registry=registry
        )
        self._oldest_lease = Gauge("lora_oldest_lease_seconds", "Longest a row has an adapter.", registry=registry)
        self._oldest_lease.set_function(self._lease_age)
        self._commands = Counter("lora_commands", "Commands carried out.", ["command", "status"], registry=registry)
        self._unacknowledged = Gauge(
            "usage_unacknowledged", "Final usages that a gateway has not taken down.", registry=registry
        )
        self._usage_dropped = Counter("usage_dropped", "Final usages that nobody took down.", registry=registry)
        self.constraints = ConstraintMetrics(registry)
        self._refusals = Counter("constraint_refusals", "Requests ended by their constraint.", registry=registry)
        self._stalled = Gauge("engine_stalled", "1 while steps fail to end.", registry=registry)
        self.speculation = SpeculationMetrics(registry)

    def step(self, plan: StepPlan, seconds: float) -> None:
        self._busy.add(seconds)
        self._step.observe(seconds)
        self._iteration.observe(sum(row.count for row in plan.rows))

    def adapter_loaded(self, seconds: float) -> None:
        self._load_seconds.labels("gpu").observe(seconds)

    def publish(self, outputs: Iterable[Output], load: Load, host_evictions: int = 0) -> None:
        self._generated.inc(sum(map(_generated, outputs)))
        self._running.set(load.running)
        self._waiting.set(load.waiting)
        self._kv.set(1 - load.free_blocks / load.total_blocks if load.total_blocks else 0)
        self._preemptions.inc(load.preemptions - self._seen.preemptions)
        self._swaps.inc(load.swaps - self._seen.swaps)
        seen, self._seen = self._seen, load
        self._loads.labels("gpu").inc(load.adapter_loads - seen.adapter_loads)
        self._evictions.labels("gpu").inc(load.adapter_evictions - seen.adapter_evictions)
        self._evictions.labels("host").inc(host_evictions - self._host_evictions)
        self._host_evictions = host_evictions
        self._hits.labels("gpu").inc(load.gpu_hits - seen.gpu_hits)
        self._hits.labels("host").inc(load.host_hits - seen.host_hits)
        self._misses.inc(load.misses - seen.misses)

    def finished(self, output: Output) -> None:
        self._finished.labels(output.finish or "none").inc()
        self._refusals.inc(isinstance(output.error, ConstraintRefused))
        if output.usage is not None:
            self._prompt.inc(output.usage.prompt_tokens)
            self._cached.inc(output.usage.cached_tokens)
        if output.timing is not None:
            self._queued.observe(output.timing.queued)
            self._prefill.observe(output.timing.prefill)
            self._decode.observe(output.timing.decode)

    def memory(self, uses: Mapping[str, int]) -> None:
        """Bytes by use: weights, KV cache, adapters, graphs."""
        for use, size in uses.items():
            self._memory.labels(use).set(size)

    def watch(self, holdings: Holdings) -> None:
        """What is held is looked up when metrics are read, on another thread."""
        for tier in Tier:
            self._resident.labels(tier).set_function(partial(_count, holdings, tier))
            self._resident_bytes.labels(tier).set_function(partial(_bytes, holdings, tier))
            self._pinned.labels(tier).set_function(partial(holdings.pinned, tier))

    def watch_usage(self, kept: Callable[[], int]) -> None:
        self._unacknowledged.set_function(kept)

    def usage_dropped(self, count: int) -> None:
        self._usage_dropped.inc(count)

    def fetched(self, seconds: float, *, ok: bool) -> None:
        self._fetch.labels("ok" if ok else "error").observe(seconds)
        if ok:
            self._loads.labels("host").inc()
            self._load_seconds.labels("host").observe(seconds)

    def command(self, verb: str, status: str) -> None:
        """`verb`: one of Verb, or "unknown"."""
        self._commands.labels(verb, status).inc()

    def stalled(self, stalled: bool) -> None:
        self._stalled.set(stalled)

    def _lease_age(self) -> float:
        began = self._seen.oldest_lease
        return 0.0 if began is None else max(0.0, time.monotonic() - began)

    def _latency(self, name: str, help_text: str) -> Histogram:
        return Histogram(name, help_text, buckets=_LATENCY, registry=self.registry)


def _count(holdings: Holdings, tier: Tier) -> float:
    return len(holdings.in_tier(tier))


def _bytes(holdings: Holdings, tier: Tier) -> float:
    return sum(held.bytes for held in holdings.in_tier(tier))


def _generated(output: Output) -> int:
    return len(output.tokens) + sum(len(beam.tokens) for beam in output.beams)
