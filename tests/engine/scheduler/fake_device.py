"""A model of device and host memory: what is in each KV block, and whose it is.

A cell stands for the keys and values of one position. In a real model these depend on every token before it and on the
adapter, so a cell says all of that, and the namespace besides: a row may read only what it would have written itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from zlib import crc32

NOT_WHAT_WAS_SAID = -1  # the past of what no row should read
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
    _cells: list[Cell] = field(default_factory=list)

    def cells(self, end: int) -> list[Cell]:
        """What the row itself would write, at least up to position `end`; each is made once, since all are read in
        every step."""
        while len(self._cells) < end:
            position = len(self._cells)
            before, token = self._cells[-1].past if self._cells else 0, self.tokens[position]
            self._cells.append(Cell(self.owner, position, token, crc32(repr((before, token)).encode())))
        return self._cells


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
        self._blocks[row.blocks[position // self._size]][position % self._size] = row.cells(position + 1)[position]

    def spoil(self, row: Row, position: int, token: int) -> None:
        """A draft that is wrong: it must be written over before it is read."""
        cell = Cell(row.owner, position, token, NOT_WHAT_WAS_SAID)
        self._blocks[row.blocks[position // self._size]][position % self._size] = cell

    def read(self, row: Row) -> list[int]:
        """The tokens of the row's computed positions; every cell must be what the row would have written."""
        cells = row.cells(row.computed)
        for begin in range(0, row.computed, self._size):
            block = row.blocks[begin // self._size]
            wanted = cells[begin : min(begin + self._size, row.computed)]
            found = self._blocks[block][: len(wanted)]
            assert found == wanted, f"block {block} holds {found}, not {wanted}"
        return row.tokens[: row.computed]
