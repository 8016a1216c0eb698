"""Where validation runs: off the event loop, a bounded number at a time."""

import asyncio
from pathlib import Path
from typing import Protocol

from chorus_adapter_store.errors import Unavailable
from chorus_adapter_store.validate.adapter import check_adapter
from chorus_adapter_store.validate.limits import Limits
from chorus_adapter_store.values import AdapterFacts, BaseSpec


class Validator(Protocol):
    async def validate(self, config: Path, weights: Path, base: BaseSpec) -> AdapterFacts:
        """As `check_adapter`, but a failing disk raises Unavailable."""
        ...


class ThreadValidator:
    def __init__(self, limits: Limits, *, parallel: int) -> None:
        self._limits = limits
        self._places = asyncio.Semaphore(parallel)

    async def validate(self, config: Path, weights: Path, base: BaseSpec) -> AdapterFacts:
        async with self._places:
            try:
                return await asyncio.to_thread(check_adapter, config, weights, base, self._limits)
            except OSError as error:
                raise Unavailable(f"the store's disk failed ({error.strerror or error}); try again later") from error
