"""The KV blocks: which are free, how many tables hold each of the others, and which can be found by what is in them."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence


class BlockPool:
    """Every block is held by one or more block tables, or free.

    A block with a *name* can be found and shared. When nobody holds it any more it is free and *idle*: still to be
    found, until its room is wanted. Free blocks without a name are *blank* and are given out first, then idle ones,
    least recently used first.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.freed = 0  # how often a block became free
        self._blank = list(range(total - 1, -1, -1))  # a stack: low numbers first, warm blocks again
        self._idle: OrderedDict[int, None] = OrderedDict()
        self._holders = [0] * total  # by block: tables that hold it
        self._names: dict[int, bytes] = {}  # block -> name
        self._named: dict[bytes, int] = {}  # name -> block

    @property
    def free(self) -> int:
        return len(self._blank) + len(self._idle)

    def can_allocate(self, count: int) -> bool:
        return count <= self.free

    def allocate(self, count: int) -> tuple[int, ...]:
        """`count` blocks for one new holder. The caller has asked `can_allocate`."""
        assert self.can_allocate(count), f"{count} blocks asked, {self.free} free"
        blocks = tuple(self._blank.pop() if self._blank else self._evict() for _ in range(count))
        for block in blocks:
            self._holders[block] = 1
        return blocks

    def find(self, name: bytes) -> int | None:
        return self._named.get(name)

    def holders(self, block: int) -> int:
        return self._holders[block]

    def share(self, blocks: Iterable[int]) -> None:
        """One more holder for blocks that are held or idle."""
        for block in blocks:
            if not self._holders[block]:
                del self._idle[block]
            self._holders[block] += 1

    def release(self, blocks: Sequence[int]) -> None:
        """One holder less; the pair of `allocate` and of `share`. Of a table's blocks the last are given up first."""
        holders, names = self._holders, self._names
        for block in reversed(blocks):
            holders[block] -= 1
            if not holders[block]:
                self.freed += 1
                if block in names:
                    self._idle[block] = None
                else:
                    self._blank.append(block)

    def name(self, block: int, name: bytes) -> None:
        """The held block can be found from now on, unless another of this name can; by an older name no more."""
        assert self._holders[block], f"a name for block {block}, which is free"
        if name not in self._named:
            if (older := self._names.get(block)) is not None:
                del self._named[older]
            self._named[name] = block
            self._names[block] = name

    def _evict(self) -> int:
        block, _ = self._idle.popitem(last=False)
        del self._named[self._names.pop(block)]
        return block

    def check(self, tables: Iterable[Iterable[int]]) -> None:
        """blank + idle + held == total, and each block has as many holders as tables name it."""
        counted = [0] * self.total
        for table in tables:
            for block in table:
                counted[block] += 1
        assert counted == self._holders
        held = {block for block, count in enumerate(self._holders) if count}
        assert sorted([*self._blank, *self._idle, *held]) == list(range(self.total))
        assert {block: name for name, block in self._named.items()} == self._names
        assert self._names.keys() & self._blank == set()
        assert self._names.keys() >= self._idle.keys()
