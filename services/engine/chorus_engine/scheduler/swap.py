"""KV blocks in host memory: what preempted requests had computed."""

from collections.abc import Iterable

Moves = tuple[tuple[int, int], ...]  # (from block, to block)


class SwapSpace:
    """Every host block is free or held by one waiting request.

    A step swaps out before it swaps in, so a host block that a step brings back must not be filled again by the same
    step: `swap_out` comes before `swap_in` in the making of each step.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = list(range(total - 1, -1, -1))
        self._outs: dict[int, int] = {}  # host block -> block, for the next step
        self._ins: list[tuple[int, int]] = []

    def can_hold(self, count: int) -> bool:
        return count <= len(self._free)

    def swap_out(self, blocks: Iterable[int]) -> tuple[int, ...]:
        """Host blocks that get the content with the next step. The caller has asked `can_hold`."""
        assert not self._ins, "a host block may be on its way back"
        host = []
        for block in blocks:
            host.append(self._free.pop())
            self._outs[host[-1]] = block
        return tuple(host)

    def swap_in(self, host: Iterable[int], blocks: Iterable[int]) -> None:
        """Content goes back with the next step. The host blocks stay held until `release`."""
        self._ins.extend(zip(host, blocks, strict=True))

    def release(self, host: Iterable[int]) -> None:
        """The pair of `swap_out`. What was to be swapped out and nobody wants back is left."""
        back = {source for source, _ in self._ins}
        for block in host:
            self._free.append(block)
            if block not in back:
                self._outs.pop(block, None)

    def take_moves(self) -> tuple[Moves, Moves]:
        """(out, in) for the plan that is made."""
        outs = tuple((block, host) for host, block in self._outs.items())
        ins = tuple(self._ins)
        self._outs.clear()
        self._ins.clear()
        return outs, ins

    def check(self, held: Iterable[Iterable[int]]) -> None:
        """free + held == total."""
        assert sorted([*self._free, *(block for host in held for block in host)]) == list(range(self.total))
