"""Where validation runs: off the event loop, a bounded number at a time."""

import asyncio
from pathlib import Path
from typing import Protocol

from chorus_adapter_store.validate.adapter import check_adapter
from chorus_adapter_store.validate.limits import Limits
from chorus_adapter_store.values import AdapterFacts, BaseSpec


class Validator(Protocol):
    async def validate(self, config: Path, weights: Path, base: BaseSpec) -> AdapterFacts:
        """As `check_adapter`."""
        ...


class ThreadValidator:
    def __init__(self, limits: Limits, *, parallel: int) -> None:
        self._limits = limits
        self._places = asyncio.Semaphore(parallel)

    async def validate(self, config: Path, weights: Path, base: BaseSpec) -> AdapterFacts:
        async with self._places:
            return await asyncio.to_thread(check_adapter, config, weights, base, self._limits)
