"""Constraints as the runner needs them."""

import os
import time
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chorus_engine.constraints.cache import GrammarCache
from chorus_engine.constraints.matcher import BrokenMatcher, GrammarMatcher
from chorus_engine.constraints.tokenizer import library
from chorus_engine.constraints.watcher import NOBODY, Watcher
from chorus_engine.core.constraint import Constraint
from chorus_engine.core.errors import EngineError

if TYPE_CHECKING:
    import llguidance

MAX_THREADS = 8  # 32 masks of a usual schema take 2 ms on one in the mean, and a single one up to 1.5 ms
Matcher = GrammarMatcher | BrokenMatcher


def usual_threads() -> int:
    return max(1, min(MAX_THREADS, (os.cpu_count() or 1) // 2))


class Constraints:
    """Of requests whose constraints are leased from the cache: so nothing is compiled between two steps."""

    def __init__(self, cache: GrammarCache, threads: int, *, watcher: Watcher = NOBODY) -> None:
        """threads: that masks of several rows are filled on."""
        self._cache = cache
        self._watcher = watcher
        self._threads = threads

    def matcher(self, constraint: Constraint, produced: Sequence[int]) -> Matcher:
        try:
            return self._cache.leased(constraint).follow(produced)
        except EngineError as error:
            return BrokenMatcher(error)

    def fill(self, matchers: Sequence[tuple[Any, int, Sequence[int]]], masks: NDArray[np.int32]) -> None:
        """As runner.bound_rows.ConstraintSource has it; the matchers are those that `matcher` gave and that live."""
        assert masks.flags["C_CONTIGUOUS"]
        began = time.perf_counter()
        matchers = sorted(matchers, key=_lane)  # neighbours go to the same thread
        ahead = [(matcher.state, row, list(drafts)) for matcher, row, drafts in matchers if drafts]
        alone = [(matcher.state, row) for matcher, row, drafts in matchers if not drafts]
        if len(alone) == 1:
            state, row = alone[0]
            state.unsafe_compute_mask_ptr(masks[row].ctypes.data, masks.strides[0])
        elif alone:
            self._executor.unsafe_compute_mask_ptr(alone, masks.ctypes.data, masks.strides[0], len(masks))
        if ahead:
            self._executor.unsafe_compute_mask_ptr_with_draft_token(
                ahead, masks.ctypes.data, masks.strides[0], len(masks)
            )
        self._watcher.masked(time.perf_counter() - began)
        for matcher, _, _ in matchers:
            matcher.check()

    @cached_property
    def _executor(self) -> "llguidance.LLExecutor":
        executor: llguidance.LLExecutor = library().LLExecutor(num_threads=self._threads)
        return executor


def _lane(filled: tuple[Any, int, Sequence[int]]) -> int:
    lane: int = filled[0].lane
    return lane
