"""An engine that runs, and what every row on it needs."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu.client import Client
from benchmarks.gpu.engines import TOKEN, EngineConfig
from benchmarks.gpu.floors import Floor, Limits, Sizes
from benchmarks.gpu.recording import Recording
from benchmarks.gpu.server import Server
from benchmarks.workloads import Item, Shape, Workload, prompts


@dataclass(frozen=True, slots=True)
class Setting:
    """What all rows of a run have in common."""

    shape: Shape
    device: str
    results: Path  # folder
    work: Path  # folder for logs
    repeats: int | None  # None: as many as each row wants


class Station:
    """`start`, then rows, then `stop`. Rows measure with `play`."""

    def __init__(self, config: EngineConfig, setting: Setting, limits: Limits | None) -> None:
        self.config = config
        self.setting = setting
        self.limits = limits

    @property
    def shape(self) -> Shape:
        return self.setting.shape

    @property
    def floor(self) -> Floor:
        assert self.limits is not None
        return Floor(Sizes.of(self.shape), self.limits)

    @property
    def rank(self) -> float:
        """Mean over the adapters."""
        return sum(self.config.ranks) / len(self.config.ranks)

    async def start(self) -> None:
        self.cold = self.setting.device == "cuda" and not any_kernels()
        log = self.setting.work / f"{self.config.name}.log"
        self.server = Server(self.config, self.shape.name, self.setting.device, log)
        await self.server.start()
        self.client = Client(self.server.ready.address, TOKEN)
        await self.client.open()
        if self.limits is None:
            self.limits = Limits(*await self.server.order("limits"))
        await self._warm_up()

    async def stop(self) -> None:
        await self.client.close()
        await self.server.stop()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def play(self, items: Sequence[Item]) -> Recording:
        return await self.client.play(items)

    async def repeat(self, work: Workload, times: int) -> list[Recording]:
        """Fresh prompts each time."""
        count = self.setting.repeats or times
        return [await self.play(self.items(work, seed)) for seed in range(1, count + 1)]

    def items(self, work: Workload, seed: int) -> list[Item]:
        return work.items(seed, self.shape.vocab, self.server.digests)

    async def in_process(self, work: Workload, seed: int) -> dict[str, Any]:
        """The same workload without gRPC, in the engine's process."""
        answer: dict[str, Any] = await self.server.order("run", workload=work.name, adapters=work.adapters, seed=seed)
        return answer

    async def _warm_up(self) -> None:
        """A few base requests, then one of each adapter, so that host memory's bookkeeping knows them all."""
        adapters = [None] * 4 + self.server.digests
        drawn = prompts(len(adapters), 16, 0, self.shape.vocab)
        await self.play([Item(prompt, 2, adapter) for prompt, adapter in zip(drawn, adapters, strict=True)])


def any_kernels() -> bool:
    """Whether Triton's cache holds any."""
    home = Path(os.environ.get("TRITON_HOME") or Path.home()) / ".triton" / "cache"
    folder = Path(os.environ.get("TRITON_CACHE_DIR") or home)
    return folder.is_dir() and any(folder.iterdir())
