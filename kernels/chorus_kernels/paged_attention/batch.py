from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class AttentionBatch:
    """Who attends to what in one step. Rows of one token come first, and their tokens come first too.

    A row's tokens are its last ones: query i of a row with count c and context n stands at position n - c + i.
    Every slot of a listed block must hold finite values, also past the context.
    """

    counts: tuple[int, ...]  # tokens of each row in this step
    contexts: tuple[int, ...]  # tokens of each row in the cache, those of this step included
    block_tables: Tensor  # [rows, blocks] int64; entries past a row's context name any block of finite values
    block_size: int
    window: int | None = None  # a query sees itself and the window - 1 tokens before it; None sees all
