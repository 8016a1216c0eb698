"""What a blob store does, whichever it is."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

CHUNK_BYTES = 1 << 20


class Upload(Protocol):
    """Bytes on their way in. Nobody can see them before `keep`."""

    @property
    def path(self) -> Path:
        """A local file with the bytes so far, for validation."""
        ...

    @property
    def size(self) -> int: ...

    async def write(self, data: bytes) -> None: ...

    async def seal(self) -> str:
        """Make the bytes durable; nothing may be written after. Returns their SHA-256."""
        ...

    async def send(self) -> None:
        """Have the sealed bytes brought to where `keep` puts them, as far as that takes long: they may be there after,
        and be removed again by whoever removes what nothing names. `keep` may do without."""
        ...

    async def keep(self) -> None:
        """Atomically put the sealed bytes at their digest, durably; the same bytes may be there already."""
        ...


class Blobs(Protocol):
    """Every method raises Unavailable when the disk or the bucket fails."""

    def upload(self) -> AbstractAsyncContextManager[Upload]:
        """Leaving the context without `keep` leaves no trace."""
        ...

    def read(self, sha256: str, size: int) -> AsyncGenerator[bytes]:
        """The blob, which has `size` bytes, in chunks of at most CHUNK_BYTES.

        Raises DataLoss when it is missing, or at the end when its bytes do not match its digest.
        """
        ...

    async def digests(self) -> frozenset[str]:
        """Every blob that is there."""
        ...

    async def remove(self, sha256: str) -> None:
        """It may be gone already. Readers that have begun finish."""
        ...

    async def close(self) -> None:
        """Nothing may be asked of it after."""
        ...
