"""One adapter from the store's bytes to its span: hashed and converted while they come."""

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor
from contextlib import suppress
from itertools import pairwise

from torch import Tensor

from chorus_engine.adapters.convert import Layout, Piece, plan, write
from chorus_engine.adapters.host import CONFIG_FILE, MODEL_FILE, FileHead, combine
from chorus_engine.adapters.tensors import LENGTH_BYTES, header_end
from chorus_engine.core.errors import AdapterUnusable
from chorus_engine.core.spec import AdapterFootprint

BATCH = 4 << 20  # bytes of the file that are converted in one go; then it is another adapter's turn
AHEAD = 32 << 20  # bytes that come before those that came are converted; a tensor that is larger comes whole

# From what an adapter is and its size in bytes to where its values go: [values]. Raises NoRoom.
Room = Callable[[AdapterFootprint, int], Awaitable[Tensor]]


class Damaged(AdapterUnusable):
    """The bytes are not those that the digest names."""


class NoRoom(Exception):
    """The engine says why."""


class Intake:
    """Nothing is written to the span any more when `take` has ended, however it ends."""

    def __init__(self, digest: str, layout: Layout, room: Room, worker: Executor, *, max_bytes: int) -> None:
        """max_bytes: of both files, without matrices of the base. `worker` converts, on a thread of its own."""
        self._digest = digest
        self._layout = layout
        self._room = room
        self._worker = worker
        self._max_bytes = max_bytes
        self._files: list[_File] = []
        self._came = asyncio.Event()
        self._went = asyncio.Event()  # bytes were converted, or more are needed
        self._needed = 0  # of the weights' file, up to here

    async def take(self, parts: AsyncIterator[FileHead | bytes]) -> None:
        """Raises AdapterUnusable, as Damaged where other bytes may help, NoRoom, or what `parts` raises."""
        conversion: asyncio.Task[None] | None = None
        try:
            async for part in parts:
                if isinstance(part, bytes):
                    self._add(part)
                else:
                    self._begin(part)
                    if len(self._files) == 2:
                        conversion = asyncio.create_task(self._convert(*self._files))
                        conversion.add_done_callback(lambda _: self._went.set())
                if conversion is not None:
                    await self._keep_back(self._files[1], conversion)
                if conversion is not None and conversion.done() and isinstance(conversion.exception(), NoRoom):
                    break
            else:
                self._verify()  # first: what is wrong with a file is its owner's concern only if it is that file
            if conversion is not None:
                await conversion
        finally:
            if conversion is not None:
                conversion.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await conversion

    def _begin(self, head: FileHead) -> None:
        names = [file.head.name for file in self._files] + [head.name]
        if names != [CONFIG_FILE, MODEL_FILE][: len(names)]:
            raise AdapterUnusable(
                f"the store gave {' and '.join(map(repr, names))} for adapter {self._digest}; it must give "
                f"{CONFIG_FILE!r}, then {MODEL_FILE!r}."
            )
        limit = self._max_bytes + self._layout.whole_bytes
        if (size := sum(file.head.size for file in self._files) + head.size) > limit:
            raise AdapterUnusable(
                f"adapter {self._digest} has {size} bytes; this engine takes at most {limit} "
                "(CHORUS_HOST_ADAPTER_MEMORY)."
            )
        self._files.append(_File(head))

    def _add(self, data: bytes) -> None:
        if not self._files or not self._files[-1].add(data):
            raise Damaged(f"the store sent more of adapter {self._digest} than the sizes that it gave.")
        self._came.set()

    async def _keep_back(self, file: "_File", conversion: "asyncio.Task[None]") -> None:
        """Without room, or behind a source that is faster, no whole file gathers here."""
        while file.held > AHEAD and file.end >= self._needed and not conversion.done():
            self._went.clear()
            await self._went.wait()

    def _verify(self) -> None:
        if len(self._files) != 2:
            names = [file.head.name for file in self._files]
            raise Damaged(f"the store gave {names} for adapter {self._digest}; it must give both files.")
        for file in self._files:
            if not file.is_whole():
                raise Damaged(
                    f"{file.head.name} of adapter {self._digest} hashes to {file.sha256().hex()} after {file.end} "
                    f"bytes, not to {file.head.sha256}."
                )
        if (actual := combine(*(file.sha256() for file in self._files))) != self._digest:
            raise Damaged(f"the adapter's bytes hash to {actual}, not to its digest {self._digest}; upload it again.")

    # ---------------------------------------------------------------- beside it

    async def _convert(self, config: "_File", file: "_File") -> None:
        await self._until(file, LENGTH_BYTES)
        end = header_end(file.read(LENGTH_BYTES), file.head.size)
        await self._until(file, end)
        planned = plan(self._digest, config.read(config.end), file.read(end), file.head.size, self._layout)
        pieces = list(planned.pieces)
        file.keep(_spans(pieces))
        packed = await self._room(planned.footprint, planned.bytes)
        while pieces:
            await self._until(file, pieces[0].matrix.end)
            stop = _batch(pieces, file.end)
            origin = pieces[0].matrix.begin
            data = file.take(origin, pieces[stop - 1].matrix.end)
            self._went.set()
            await self._work(pieces[:stop], data, origin, packed)
            del pieces[:stop]

    async def _until(self, file: "_File", end: int) -> None:
        self._needed = min(end, file.head.size)
        self._went.set()
        while file.end < self._needed:
            self._came.clear()
            await self._came.wait()

    async def _work(self, pieces: list[Piece], data: bytearray, origin: int, packed: Tensor) -> None:
        """To its end, also when cancelled."""
        job = asyncio.get_running_loop().run_in_executor(self._worker, write, pieces, data, origin, packed)
        try:
            await asyncio.shield(job)
        except asyncio.CancelledError:
            await asyncio.wait([job])
            raise


def _spans(pieces: list[Piece]) -> list[tuple[int, int]]:
    """The parts of the file that the pieces are, (begin, end) each: what is between them is not converted."""
    spans: list[tuple[int, int]] = []
    for piece in pieces:
        begin = spans.pop()[0] if spans and spans[-1][1] == piece.matrix.begin else piece.matrix.begin
        spans.append((begin, piece.matrix.end))
    return spans


def _batch(pieces: list[Piece], end: int) -> int:
    """How many of the pieces are there by byte `end`, one behind the other within a batch; at least the first."""
    limit = min(end, pieces[0].matrix.begin + BATCH)
    for i, (piece, following) in enumerate(pairwise(pieces), start=1):
        if following.matrix.end > limit or following.matrix.begin != piece.matrix.end:
            return i
    return len(pieces)


class _File:
    """Of one file, what has come and was not taken."""

    def __init__(self, head: FileHead) -> None:
        self.head = head
        self.end = 0
        self.held = 0  # bytes
        self._chunks: deque[tuple[int, bytes]] = deque()  # each from a byte of the file
        self._spans: list[tuple[int, int]] = [(0, head.size)]  # that are kept
        self._hasher = hashlib.sha256()

    def add(self, data: bytes) -> bool:
        """False when there is more than the head said."""
        if self.end + len(data) > self.head.size:
            return False
        if self._is_kept(self.end, data):
            self._chunks.append((self.end, data))
            self.held += len(data)
        self._hasher.update(data)
        self.end += len(data)
        return True

    def keep(self, spans: list[tuple[int, int]]) -> None:
        """From now on nothing but these parts, (begin, end) each; only what is in one of them may be taken."""
        self._spans = spans
        self._chunks = deque(chunk for chunk in self._chunks if self._is_kept(*chunk))
        self.held = sum(len(data) for _, data in self._chunks)

    def read(self, end: int) -> bytes:
        """From the beginning, before anything is taken."""
        return bytes(self._piece(0, end))

    def take(self, begin: int, end: int) -> bytearray:
        """A part that has come; what is before it and it itself may be asked for no more."""
        taken = self._piece(begin, end)
        while self._chunks and self._chunks[0][0] + len(self._chunks[0][1]) <= end:
            self.held -= len(self._chunks.popleft()[1])
        return taken

    def _is_kept(self, at: int, data: bytes) -> bool:
        return any(begin < at + len(data) and at < end for begin, end in self._spans)

    def _piece(self, begin: int, end: int) -> bytearray:
        return bytearray().join(
            memoryview(chunk)[max(begin - at, 0) : max(end - at, 0)] for at, chunk in self._chunks if at < end
        )

    def sha256(self) -> bytes:
        return self._hasher.digest()

    def is_whole(self) -> bool:
        return self.end == self.head.size and self._hasher.hexdigest() == self.head.sha256
