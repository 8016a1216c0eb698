"""The engine put together for measurements, as chorus_engine.main does it, without services: the one place here that
knows its parts."""

import asyncio
import gc
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.gpu.adapters import random_adapter
from benchmarks.gpu.engines import EngineConfig
from benchmarks.gpu.fetching import Fetching
from benchmarks.gpu.scripted import Script
from benchmarks.gpu.vocabulary import tokenizer_json
from chorus_engine.adapters import AdapterSupply, HostAdapter, HostCache, make_policy
from chorus_engine.constraints import ConstraintRoom
from chorus_engine.core.plan import StepPlan
from chorus_engine.loop import EngineLoop, News
from chorus_engine.model import load
from chorus_engine.runner import Runner, RunnerSettings, measure_capacity
from chorus_engine.runner.drafts import agreeing
from chorus_engine.scheduler import Scheduler
from chorus_engine.speculation import Control, Speculator

MOST_DRAFTS, MAX_VERIFIED = 8, 64  # as the engine has them
ENDLESS = 1 << 40  # bytes of host memory: it only counts, and the adapters lie where they were drawn

Publish = Callable[[News], None]


class _Unobserved:
    def step(self, plan: StepPlan, seconds: float) -> None:
        pass

    def adapter_loaded(self, seconds: float) -> None:
        pass


class Engine:
    """`publish` and `broken` are called on the loop's thread."""

    def __init__(
        self, config: EngineConfig, model: Path, device: torch.device, publish: Publish, broken: Callable[[], None]
    ) -> None:
        self.device = device
        self._config = config
        self._model = load(
            model, name="benchmark", device=device, load_format="dummy", max_model_len=config.max_model_len
        )
        self.spec = self._model.spec
        settings = runner_settings(config, device)
        self._host: dict[str, HostAdapter] = {}
        self._fetching = Fetching(config, self.spec, self._model.dtype, device) if config.host_bytes else None
        cache = self._fetching.cache if self._fetching else self._endless_cache()
        self._constraints = self._make_constraints() if config.constraints else None
        source = self._constraints.source if self._constraints else None
        self.script = Script()
        speculator = Speculator(self.script, Control(MOST_DRAFTS)) if config.speculation else None
        verify = self.script.verify if config.speculation else agreeing
        capacity = measure_capacity(self._model, settings)
        runner = Runner(self._model, capacity, cache, constraints=source, verify=verify)
        runner.warm_up()
        gc.freeze()
        self.capacity = runner.capacity
        scheduler = Scheduler(self.capacity, prefix_caching=config.prefix_caching, speculator=speculator)
        self.loop = EngineLoop(
            scheduler,
            runner,
            self._fetching.supply(scheduler) if self._fetching else self._drawn_supply(cache, scheduler),
            publish=publish,
            broken=broken,
            observer=_Unobserved(),
            depth=2 if device.type == "cuda" else 1,
        )
        self.gate = self._constraints.gate(self.loop) if self._constraints else None
        self.memory = {**asdict(runner.memory), "all": used_bytes(device)}  # bytes on the device

    def start(self) -> None:
        self.loop.start()
        threads = torch.get_num_threads()
        self.loop.ask(lambda: torch.set_num_threads(threads))  # OpenMP keeps the number a thread
        if self._fetching:
            self._fetching.begin(self.loop)

    async def stop(self) -> None:
        if self._fetching:
            await self._fetching.end()
        if self._constraints:
            self._constraints.close()
        await asyncio.to_thread(self.loop.stop)

    def draw_adapters(self) -> tuple[float, list[str]]:
        """Fill host memory, or the volume, before any request asks for an adapter; the seconds that it took, and the
        adapters' digests."""
        began = time.perf_counter()
        digests = self._fetching.draw() if self._fetching else self._draw()
        return time.perf_counter() - began, digests

    def _draw(self) -> list[str]:
        ranks = self._config.ranks
        for index in range(self._config.adapters):
            rank = ranks[index % len(ranks)]
            adapter = random_adapter(index, rank, self.spec, self._model.dtype, self.device)
            self._host[adapter.digest] = adapter
        return list(self._host)

    def _make_constraints(self) -> ConstraintRoom:
        """With a tokenizer of random words: the model has random weights and none."""
        eos = self.spec.eos_token_ids[0] if self.spec.eos_token_ids else self.spec.vocab_size - 1
        return ConstraintRoom(tokenizer_json(self.spec.vocab_size, eos), self.spec.vocab_size, (eos,))

    def _endless_cache(self) -> HostCache:
        return HostCache(ENDLESS, make_policy("lru"), needed=self._host.__contains__, dropped=self._host.__delitem__)

    def _drawn_supply(self, cache: HostCache, scheduler: Scheduler) -> AdapterSupply:
        return AdapterSupply(
            cache,
            start=self._fetch,
            hasten=lambda digest: None,
            priority=scheduler.priority,
            shape=lambda footprint, span: self._host[footprint.digest],
        )

    def _fetch(self, digest: str, urgent: bool) -> None:
        adapter = self._host[digest]
        self.loop.adapter_room(adapter.footprint, adapter.bytes)
        self.loop.adapter_arrived(digest)


def runner_settings(config: EngineConfig, device: torch.device) -> RunnerSettings:
    default = max(config.max_num_seqs, 8192 if device.type == "cuda" else 512)
    return RunnerSettings(
        max_num_seqs=config.max_num_seqs,
        max_num_batched_tokens=config.max_num_batched_tokens or default,
        max_adapters=config.slots,
        max_lora_rank=config.max_rank,
        max_model_len=config.max_model_len,
        kv_cache_bytes=config.kv_cache_bytes,
        gpu_memory_utilization=config.gpu_memory_utilization,
        swap_bytes=config.swap_bytes,
        max_verified=MAX_VERIFIED if config.speculation else 0,
    )


def used_bytes(device: torch.device) -> int:
    """Of the device's memory, by whatever is on it, less what torch holds in reserve; 0 on CPU."""
    if device.type != "cuda":
        return 0
    torch.cuda.synchronize(device)
    free, total = torch.cuda.mem_get_info(device)
    return total - free - (torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
