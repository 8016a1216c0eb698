"""A model of device and host memory: what is in each KV block, and whose it is.

A cell stands for the keys and values of one position. In a real model these depend on every token before it and on the
adapter, so a cell says all of that, and the namespace besides: a row may read only what it would have written itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from zlib import crc32

Owner = tuple[bytes, str | None]  # (namespace, or the request's id when it has none; adapter digest)


@dataclass(frozen=True, slots=True)
class Cell:
    owner: Owner
    position: int
    token: int
    past: int  # a digest of all tokens up to this one


@dataclass
class Row:
    owner: Owner
    tokens: list[int]
    blocks: list[int]
    computed: int = 0
    _pasts: list[int] = field(default_factory=list)

    def cell(self, position: int) -> Cell:
        """What the row itself would write there."""
        while len(self._pasts) <= position:
            before = self._pasts[-1] if self._pasts else 0
            self._pasts.append(crc32(repr((before, self.tokens[len(self._pasts)])).encode()))
        return Cell(self.owner, position, self.tokens[position], self._pasts[position])


class FakeDevice:
    def __init__(self, blocks: int, host_blocks: int, block_size: int) -> None:
        self._size = block_size
        self._blocks: list[list[Cell | None]] = [[None] * block_size for _ in range(blocks)]
        self._host: list[list[Cell | None]] = [[None] * block_size for _ in range(host_blocks)]

    def swap_out(self, moves: Iterable[tuple[int, int]]) -> None:
        for block, host in moves:
            self._host[host] = list(self._blocks[block])

    def swap_in(self, moves: Iterable[tuple[int, int]]) -> None:
        for host, block in moves:
            self._blocks[block] = list(self._host[host])

    def copy(self, moves: Iterable[tuple[int, int]]) -> None:
        for source, target in moves:
            self._blocks[target] = list(self._blocks[source])

    def clear(self, blocks: Iterable[int]) -> None:
        for block in blocks:
            self._blocks[block] = [None] * self._size

    def write(self, row: Row, position: int) -> None:
        self._blocks[row.blocks[position // self._size]][position % self._size] = row.cell(position)

    def read(self, row: Row) -> list[int]:
        """The tokens of the row's computed positions; every cell must be what the row would have written."""
        for position in range(row.computed):
            block, offset = row.blocks[position // self._size], position % self._size
            found = self._blocks[block][offset]
            assert found == row.cell(position), f"block {block}[{offset}] holds {found}, not {row.cell(position)}"
        return row.tokens[: row.computed]
