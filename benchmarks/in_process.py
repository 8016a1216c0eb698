"""The engine without services, for benchmarks: scheduler, runner and the loop's three lines in this process."""

import time
from collections.abc import Sequence
from pathlib import Path

import torch

from chorus_engine.adapters import AdapterFiles, HostAdapter, Layout, convert
from chorus_engine.adapters.host import Weights
from chorus_engine.core.request import Request
from chorus_engine.core.spec import AdapterFootprint
from chorus_engine.model import load
from chorus_engine.runner import Runner, RunnerSettings, measure_capacity
from chorus_engine.scheduler import Scheduler


class HostAdapters:
    """Adapters read from PEFT folders and kept; the runner takes their weights by digest."""

    def __init__(self, layout: Layout, *, pinned: bool) -> None:
        self._layout = layout
        self._pinned = pinned
        self._adapters: dict[str, HostAdapter] = {}

    def read(self, folder: Path) -> str:
        """The adapter's digest."""
        config, weights = (folder / "adapter_config.json", folder / "adapter_model.safetensors")
        files = AdapterFiles(config.read_bytes(), weights.read_bytes())
        digest = files.digest()
        self._adapters[digest] = convert(digest, files, self._layout, pinned=self._pinned)
        return digest

    def footprint(self, digest: str) -> AdapterFootprint:
        return self._adapters[digest].footprint

    def get(self, digest: str) -> Weights:
        return self._adapters[digest].weights


class InProcessEngine:
    def __init__(self, model: Path, adapters: Sequence[Path], settings: RunnerSettings, device: torch.device) -> None:
        loaded = load(model, name=model.name, device=device)
        layout = Layout(loaded.spec, loaded.dtype, settings.max_lora_rank)
        self._adapters = HostAdapters(layout, pinned=device.type == "cuda")
        self.digests = [self._adapters.read(folder) for folder in adapters]
        self.spec = loaded.spec
        self._runner = Runner(loaded, measure_capacity(loaded, settings), self._adapters)
        self._runner.warm_up()
        self._scheduler = Scheduler(self._runner.capacity, prefix_caching=False)  # the same prompts are run repeatedly

    def generate(self, requests: Sequence[Request]) -> dict[str, list[int]]:
        """Run all requests to their end; the tokens of each by its id."""
        tokens: dict[str, list[int]] = {request.id: [] for request in requests}
        for request in requests:
            self._scheduler.add(request)
        while True:
            for digest in self._scheduler.wanted_adapters():
                self._scheduler.adapter_fetched(self._adapters.footprint(digest))
            plan = self._scheduler.schedule(time.monotonic())
            if plan is None:
                return tokens
            result = self._runner.launch(plan).result()
            for output in self._scheduler.commit(plan, result, time.monotonic()):
                if output.error is not None:
                    raise output.error
                tokens[output.request_id].extend(token.token_id for token in output.tokens)
