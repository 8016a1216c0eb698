"""The KV blocks: which are free, and how many tables hold each of the others."""

from collections.abc import Iterable


class BlockPool:
    """Every block is free or held by one or more block tables."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = list(range(total - 1, -1, -1))  # a stack: low numbers first, warm blocks again
        self._holders: dict[int, int] = {}  # block -> tables that hold it

    @property
    def free(self) -> int:
        return len(self._free)

    def can_allocate(self, count: int) -> bool:
        return count <= len(self._free)

    def allocate(self, count: int) -> tuple[int, ...]:
        """`count` blocks for one new holder. The caller has asked `can_allocate`."""
        assert self.can_allocate(count), f"{count} blocks asked, {self.free} free"
        blocks = tuple(self._free.pop() for _ in range(count))
        for block in blocks:
            self._holders[block] = 1
        return blocks

    def share(self, blocks: Iterable[int]) -> None:
        """One more holder for blocks that are held already."""
        for block in blocks:
            self._holders[block] += 1

    def is_shared(self, block: int) -> bool:
        """Whether a writer must copy the block first."""
        return self._holders[block] > 1

    def release(self, blocks: Iterable[int]) -> None:
        """One holder less; the pair of `allocate` and of `share`."""
        for block in blocks:
            self._holders[block] -= 1
            if not self._holders[block]:
                del self._holders[block]
                self._free.append(block)

    def check(self, tables: Iterable[Iterable[int]] | None = None) -> None:
        """free + held == total and, given every block table, each block has as many holders as tables name it."""
        assert len(self._free) + len(self._holders) == self.total
        assert set(self._free).isdisjoint(self._holders)
        assert len(set(self._free)) == len(self._free)
        assert all(count > 0 for count in self._holders.values())
        if tables is None:
            return
        counted: dict[int, int] = {}
        for table in tables:
            for block in table:
                counted[block] = counted.get(block, 0) + 1
        assert counted == self._holders
