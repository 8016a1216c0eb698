"""How the product of few rows is cut into blocks. What was measured is in docs/performance.md.

A block's tiles in shared memory are what memory can deliver while nothing is ready to be multiplied, so they take all
of it: at 150 KB of 225 a step of Llama-3.1-8B is 0.3% slower, at 110 KB 8%. Wide weights, of which two blocks fit a
multiprocessor, are cut into larger tiles, which read x less often.
"""

from typing import NamedTuple

KB = 1024


class Shape(NamedTuple):
    out: int  # rows of the weight a block
    inner: int  # columns a tile
    splits: int  # blocks that share one sum
    warps: int
    stages: int  # tiles in shared memory


class Memory(NamedTuple):
    """Of a multiprocessor's shared memory, what a block may fill, in bytes."""

    alone: int  # where it is the only one
    paired: int  # where two share the multiprocessor


WHOLE = Memory(225 * KB, 112 * KB)
PART = Memory(130 * KB, 75 * KB)  # leaves room for the blocks of a kernel beside: adapters cost a third less


def padded(rows: int) -> int:
    return 16 if rows <= 16 else 32 if rows <= 32 else 64


def tma_shape(rows: int, outs: int, inner: int, multiprocessors: int, memory: Memory) -> Shape:
    """For a Hopper card's copy engine."""
    if outs >= 128 * multiprocessors:
        return Shape(128, 128, 1, 8, _stages(memory.paired, 128, 128, rows))
    splits = _splits(outs, inner, multiprocessors)
    columns = 128 if splits == 1 else 256  # a split's tiles as one wide row each: 1% of a step at 64 rows
    return Shape(64, columns, splits, 4, _stages(memory.alone, 64, columns, rows))


def plain_shape(rows: int, outs: int, inner: int) -> Shape:
    """For any card: two blocks of 96 KB a multiprocessor, which also fit where there is but 99 KB for one."""
    return Shape(64, 128, _splits(outs, inner, 128), 4, _stages(96 * KB, 64, 128, rows))


def _splits(outs: int, inner: int, multiprocessors: int) -> int:
    """Parts of a sum are added up by the last block, which takes longer than 4,096 columns that another could read."""
    tiles = -(-outs // 64)
    shortest = 4096 if 2 * tiles > multiprocessors // 2 else 1024
    return max(1, min(multiprocessors // tiles, inner // shortest, 8))


def _stages(memory: int, out: int, inner: int, rows: int) -> int:
    return max(2, memory // ((out + padded(rows)) * inner * 2))
