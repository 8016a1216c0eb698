"""An S3-compatible server, through s3fs: each request within bounded time, and never at another address than its own.

Credentials and region are the standard AWS_* variables, which botocore reads. Paths are `bucket/key`.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ClientError as AioHttpError
from botocore.exceptions import BotoCoreError, ClientError
from s3fs.core import S3AsyncStreamedFile, S3FileSystem

from chorus_adapter_store.blobs.protocol import CHUNK_BYTES
from chorus_adapter_store.blobs.redirects import StayingSession
from chorus_adapter_store.errors import Unavailable

_CONNECT_SECONDS = 2
_ATTEMPTS = 2
_LEAST_SPEED = 1 << 20  # bytes a second that sending a file must reach
_PART_BYTES = 8 << 20
_PARTS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Found:
    size: int  # bytes
    etag: str  # changes with the bytes


class Bucket:
    """Made inside a running loop. Methods raise Unavailable when the server is away, refuses or takes too long."""

    def __init__(self, endpoint_url: str | None = None, patience: float = 10) -> None:
        """`endpoint_url`: of the server; None is Amazon's. It may be silent for `patience` seconds, twice."""
        self._seconds = _ATTEMPTS * (_CONNECT_SECONDS + patience)
        self._fs = S3FileSystem(
            asynchronous=True,
            skip_instance_cache=True,
            use_listings_cache=False,
            endpoint_url=endpoint_url,
            config_kwargs={
                "connect_timeout": _CONNECT_SECONDS,
                "read_timeout": patience,
                "http_session_cls": StayingSession,
                "retries": {"total_max_attempts": 1},
                # Servers with a name of their own seldom have one for each bucket.
                "s3": {"addressing_style": "path" if endpoint_url else "auto"},
            },
        )
        self._fs.retries = _ATTEMPTS

    async def find(self, path: str) -> Found | None:
        async with _asking(path, self._seconds):
            try:
                found = await self._fs._info(path, refresh=True)
            except FileNotFoundError:
                return None
        return Found(int(found["size"]), str(found["ETag"])) if found["type"] == "file" else None

    async def read(self, path: str) -> AsyncGenerator[bytes]:
        """In chunks of CHUNK_BYTES, all of one version. Raises FileNotFoundError when it is not there."""
        file = await self._fs.open_async(path, "rb")
        try:
            while chunk := await self._read_chunk(file, path):
                yield chunk
        finally:
            if file.r is not None:
                file.r.close()

    async def put(self, file: Path, size: int, path: str) -> None:
        """A file of `size` bytes. Nobody sees a part of it."""
        async with _asking(path, self._seconds + size / _LEAST_SPEED):
            await self._fs._put_file(str(file), path, chunksize=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE)

    async def names(self, folder: str) -> list[str]:
        """The last parts of all paths below `folder`."""
        async with _asking(folder, 10 * self._seconds):  # a request for each thousand
            return [path.rpartition("/")[2] for path in await self._fs._find(folder)]

    async def remove(self, path: str) -> None:
        """It may be gone already."""
        async with _asking(path, self._seconds):
            await self._fs._rm_file(path)

    async def _read_chunk(self, file: S3AsyncStreamedFile, path: str) -> bytes:
        """CHUNK_BYTES, or what is left. The server gives less at a time."""
        chunk = bytearray()
        async with _asking(path, self._seconds):
            while len(chunk) < CHUNK_BYTES and (data := await file.read(CHUNK_BYTES - len(chunk))):
                chunk += data
        return bytes(chunk)

    async def close(self) -> None:
        await (await self._fs.set_session()).close()


@asynccontextmanager
async def _asking(path: str, seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except FileNotFoundError as error:
        if isinstance(error.__cause__, ClientError) and error.__cause__.response["Error"]["Code"] == "NoSuchBucket":
            raise _away(path, error) from error
        raise
    except (AioHttpError, BotoCoreError, ClientError, OSError) as error:
        raise _away(path, error) from error


def _away(path: str, error: Exception) -> Unavailable:
    reason = " ".join(str(error).split()) or type(error).__name__
    return Unavailable(f"the bucket {path.partition('/')[0]!r} cannot be used ({reason}); try again later")
