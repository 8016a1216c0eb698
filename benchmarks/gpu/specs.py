"""Which rows there are, and the engine that each runs on, in the order in which they run."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.gpu.constrained import constrained
from benchmarks.gpu.loading import loading
from benchmarks.gpu.overhead import idle_share, memory, profile, start
from benchmarks.gpu.row import Row
from benchmarks.gpu.speculating import accepted, large_batch, refused
from benchmarks.gpu.station import Station
from benchmarks.gpu.throughput import in_process, lora_idle, ranks_mixed, throughput
from benchmarks.gpu.waiting import poisson_arrivals, prefix


@dataclass(frozen=True, slots=True)
class Spec:
    name: str  # as ROWS calls it
    engine: str
    run: Callable[[Station], Awaitable[Row]]
    needs_cuda: bool = False
    asked_for: bool = False  # runs only where ROWS names it


SPECS: Sequence[Spec] = (
    Spec("start", "lora", start),
    Spec("single", "lora", partial(throughput, name="single", adapters=1, repeats=3)),
    Spec("batch32", "lora", partial(throughput, name="batch32", adapters=32, repeats=3)),
    Spec("batch128", "lora", partial(throughput, name="batch128", adapters=32)),
    Spec("mixed", "lora", partial(throughput, name="mixed", adapters=32)),
    Spec("prefill", "lora", partial(throughput, name="prefill", adapters=8)),
    Spec("overflow-common", "lora", partial(throughput, name="overflow-common", adapters=64)),
    Spec("lora-idle", "lora", lora_idle),
    Spec("memory", "lora", memory),
    Spec("idle", "lora", partial(idle_share, adapters=32), needs_cuda=True),
    Spec("profile", "lora", partial(profile, name="prefill", adapters=8), needs_cuda=True, asked_for=True),
    Spec("profile", "lora", partial(profile, name="mixed", adapters=32), needs_cuda=True, asked_for=True),
    Spec("single", "base", partial(throughput, name="single", repeats=3)),
    Spec("batch32", "base", partial(throughput, name="batch32", repeats=3)),
    Spec("batch128", "base", partial(throughput, name="batch128")),
    Spec("mixed", "base", partial(throughput, name="mixed")),
    Spec("prefill", "base", partial(throughput, name="prefill")),
    Spec("in-process", "base", in_process),
    Spec("memory", "base", memory),
    Spec("poisson", "base", poisson_arrivals),
    Spec("idle", "base", idle_share, needs_cuda=True),
    Spec("profile", "base", partial(profile, name="prefill"), needs_cuda=True, asked_for=True),
    Spec("profile", "base", partial(profile, name="mixed"), needs_cuda=True, asked_for=True),
    Spec("start", "base", start),
    Spec("overflow", "overflow", partial(throughput, name="overflow", adapters=64, repeats=1)),
    Spec("ranks-mixed", "ranks", ranks_mixed),
    Spec("loading", "loading", loading),
    Spec("prefix", "prefix", prefix),
    Spec("constrained", "constrained", constrained),
    Spec("spec-accepted", "speculating", accepted),
    Spec("spec-refused", "speculating", refused),
    Spec("spec-batch128", "speculating", large_batch),
)
