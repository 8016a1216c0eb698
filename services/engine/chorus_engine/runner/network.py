"""How the rows of a plan go through the model: one face for the CPU's way and for CUDA's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from chorus_engine.core.plan import RowStep
from chorus_engine.model.lora import LoraStep


@dataclass(frozen=True, slots=True)
class Whole:
    """The last hidden states of all of a step's tokens, where some row is read. What is past the counts is padding."""

    normed: Tensor  # [tokens, hidden]
    order: tuple[int, ...]  # index in the plan of each row, in the order of their tokens
    counts: tuple[int, ...]  # of tokens, aligned with `order`


@dataclass(frozen=True, slots=True)
class Computed:
    """What the sampler needs of one step. Rows past `sampling` are padding, whose results nobody reads."""

    normed: Tensor  # [rows, hidden], what the model's head reads
    sampling: tuple[int, ...]  # index in the plan of each row that samples, in the order of the tensors' rows
    rows: Tensor  # [rows] int64, the engine's row
    positions: Tensor  # [rows] int64, of the token to be drawn
    temperature: Tensor  # [rows] float32, 0 is greedy
    seeds: Tensor  # [rows] int64
    lora: LoraStep | None = None  # the rows' adapters, where one may have the head
    whole: Whole | None = None  # where it was asked for


class Network(Protocol):
    def run(self, steps: tuple[RowStep, ...], *, whole: bool = False) -> Computed | None:
        """Computes at least one row, whole: to the end of all tokens. None when no row samples, unless it is whole.

        Block tables and admissions are up to date.
        """

    def head_lora(self, row: int, tokens: int) -> LoraStep | None:
        """For the head of `tokens` tokens of one row; None where its adapter has no part in the head."""

    def clear(self, blocks: Sequence[int]) -> None:
        """Blocks that were just given out, in case what they hold must not be read."""

    def warm_up(self) -> None:
        """Prepares what a first step would otherwise wait for."""

    @property
    def sample_sizes(self) -> tuple[int, ...]:
        """Every number of rows, padding included, that `Computed` may have; none where they are not bounded."""

    @property
    def graph_bytes(self) -> int:
        """Device memory that prepared steps hold."""
