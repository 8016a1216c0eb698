"""Names of full blocks, so that equal beginnings are found whoever computed them.

A name hashes a block's tokens and the name of the block before it, so it stands for everything up to the block's end.
The first link hashes the namespace and the adapter: requests that differ in either never have a name in common.
"""

from hashlib import sha256
from struct import Struct

from chorus_engine.core.request import Request
from chorus_engine.scheduler.sequence import Sequence


class PrefixNames:
    """Each token of a sequence is hashed once, when the name of its block is first asked for."""

    def __init__(self, block_size: int) -> None:
        self._size = block_size
        self._tokens = Struct(f"<{block_size}I")

    def first(self, sequence: Sequence, count: int) -> list[bytes]:
        """The names of at least the first `count` blocks, whose tokens are known."""
        names = sequence.names
        if len(names) < count:
            last = names[-1] if names else _root(sequence.request)
            for start in range(len(names) * self._size, count * self._size, self._size):
                last = sha256(last + self._tokens.pack(*sequence.tokens(start, start + self._size))).digest()
                names.append(last)
        return names

    def part(self, sequence: Sequence, end: int) -> bytes:
        """Of the known tokens up to `end` and behind the last full block before it, of which there is one at least."""
        full = end // self._size
        before = self.first(sequence, full)[full - 1] if full else _root(sequence.request)
        tokens = sequence.tokens(full * self._size, end)
        return sha256(b"part" + before + Struct(f"<{len(tokens)}I").pack(*tokens)).digest()


def _root(request: Request) -> bytes:
    owner = b"base" if request.adapter is None else b"adapter " + request.adapter.encode()
    return sha256(len(request.namespace).to_bytes(8, "little") + request.namespace + owner).digest()
