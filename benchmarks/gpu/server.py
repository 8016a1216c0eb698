"""The other process, seen from here."""

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.commit import ROOT
from benchmarks.gpu.engines import EngineConfig

LINE_LIMIT = 1 << 20  # bytes
LAST_WORDS = 3000  # characters of its log that an error shows


class EngineFailed(RuntimeError):
    """What the engine's process said last."""


@dataclass(frozen=True, slots=True)
class Ready:
    address: str
    device: str
    memory: dict[str, int]  # bytes on the device
    block_size: int
    kv_blocks: int
    max_num_batched_tokens: int


class Server:
    """Starts a process and gives it orders. Its log goes to `log`."""

    def __init__(self, config: EngineConfig, shape: str, device: str, log: Path) -> None:
        self.config = config
        self._arguments = json.dumps({"shape": shape, "device": device, "config": config.to_json()})
        self._log = log
        self._started: asyncio.subprocess.Process | None = None

    @property
    def _process(self) -> asyncio.subprocess.Process:
        assert self._started is not None, "start comes first"
        return self._started

    async def start(self) -> None:
        began = time.perf_counter()
        with self._log.open("wb") as log:
            self._started = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "benchmarks.gpu.engine_process", self._arguments,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log, cwd=ROOT, limit=LINE_LIMIT,
            )  # fmt: skip
        self.ready = Ready(**await self._hear("ready"))
        self.start_seconds = time.perf_counter() - began  # from nothing to serving
        drawn = await self._hear("adapters")
        self.adapter_seconds, self.digests = float(drawn["seconds"]), [str(each) for each in drawn["digests"]]

    async def order(self, do: str, **details: Any) -> Any:
        await self.begin(do, **details)
        return await self.outcome()

    async def begin(self, do: str, **details: Any) -> None:
        """As `order`, for what happens beside something else; `outcome` must follow."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **details}).encode() + b"\n")
        await self._process.stdin.drain()

    async def outcome(self) -> Any:
        return await self._hear("done")

    async def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 20)
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """Also what never came to start."""
        if self._started is None:
            return
        if self._started.returncode is None:
            self._started.kill()
        await self._started.wait()

    def last_words(self) -> str:
        return self._log.read_text(errors="replace")[-LAST_WORDS:]

    async def _hear(self, about: str) -> Any:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        news: dict[str, Any] = json.loads(line) if line else {}
        if about not in news:
            raise EngineFailed(f"the engine said {news or 'nothing'} instead of {about}:\n{self.last_words()}")
        return news[about]
