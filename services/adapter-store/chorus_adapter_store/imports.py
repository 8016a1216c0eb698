"""Uploads that lie in an S3-compatible bucket: only in those that an administrator named, and nowhere else."""

import re
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Protocol

from chorus_adapter_store.errors import InvalidArgument, NotFound, StartError, TooLarge, Unavailable
from chorus_adapter_store.names import quote
from chorus_adapter_store.uploading import Part

_SCHEME = "s3://"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_LONGEST = 1024  # characters of bucket and key together


class Found(Protocol):
    @property
    def size(self) -> int: ...

    @property
    def etag(self) -> str: ...


class Objects(Protocol):
    """`blobs.bucket.Bucket`, or who stands in for it. Paths are `bucket/key`. Methods raise Unavailable."""

    async def find(self, path: str) -> Found | None: ...

    def read(self, path: str) -> AsyncGenerator[bytes]:
        """Raises FileNotFoundError."""
        ...


class Imports:
    def __init__(self, objects: Objects | None, allowed: Sequence[str], seconds: float) -> None:
        """`allowed`: buckets, or `bucket/prefix`; `objects` is None only where there are none. An import may take
        `seconds`."""
        self._objects = objects
        self._allowed = tuple(allowed)
        self._seconds = seconds

    async def parts(self, source: str, limits: Mapping[str, int]) -> AsyncGenerator[Part]:
        """The files that `limits` names with the most bytes that each may have, below `source`: s3://bucket/prefix.

        Raises InvalidArgument, NotFound, TooLarge or Unavailable.
        """
        folder = self._checked(source)
        until = time.monotonic() + self._seconds
        for file, limit in limits.items():
            async with aclosing(self._file(f"{folder}/{file}", limit)) as chunks:
                async for data in chunks:
                    yield file, data
                    # No timeout around a yield: it would end whoever has the bytes by then.
                    if time.monotonic() > until:
                        raise Unavailable(f"the import took more than {self._seconds:g} s (CHORUS_IMPORT_TIMEOUT)")

    async def _file(self, path: str, limit: int) -> AsyncGenerator[bytes]:
        assert self._objects is not None
        found = await self._objects.find(path)
        if found is None:
            raise _absent(path)
        if found.size > limit:
            raise TooLarge(f"{_SCHEME}{path} has {found.size} bytes, more than the {limit} allowed")
        left = found.size
        try:
            async with aclosing(self._objects.read(path)) as chunks:
                async for data in chunks:
                    left -= len(data)
                    if left < 0:
                        break
                    yield data
        except FileNotFoundError:
            raise _absent(path) from None
        if left or await self._objects.find(path) != found:
            raise Unavailable(f"{_SCHEME}{path} changed while it was read; try again")

    def _checked(self, source: str) -> str:
        """As `bucket/prefix`. Raises InvalidArgument."""
        if not self._allowed:
            raise _wrong("importing is off; an administrator names buckets in CHORUS_IMPORT_BUCKETS")
        folder = source.removeprefix(_SCHEME).removesuffix("/")
        if not source.startswith(_SCHEME) or not _is_path(folder):
            raise _wrong(f"{quote(source)} is no s3://bucket/prefix; write it without '.', '..' and empty parts")
        if not any(folder == each or folder.startswith(f"{each}/") for each in self._allowed):
            raise _wrong(f"{quote(source)} is not below a bucket that CHORUS_IMPORT_BUCKETS names")
        return folder


def parse_buckets(text: str) -> tuple[str, ...]:
    """From a list with commas. Raises StartError."""
    listed = tuple(each for each in (part.strip().removesuffix("/") for part in text.split(",")) if each)
    for each in listed:
        if not _is_path(each):
            raise StartError(f"CHORUS_IMPORT_BUCKETS has {quote(each)}, which is no bucket or bucket/prefix")
    return listed


def parse_folder(variable: str, url: str) -> str:
    """`bucket/prefix` of s3://bucket/prefix. Raises StartError."""
    folder = url.removeprefix(_SCHEME).removesuffix("/")
    if not url.startswith(_SCHEME) or not _is_path(folder):
        raise StartError(f"{variable}={quote(url)} is no s3://bucket/prefix")
    return folder


def _is_path(folder: str) -> bool:
    bucket, *parts = folder.split("/")
    plain = folder.isprintable() and folder.isascii() and not set(folder) & set("?#\\%*[]")
    return (
        plain
        and len(folder) < _LONGEST
        and _BUCKET.fullmatch(bucket) is not None
        and all(part not in ("", ".", "..") for part in parts)
    )


def _absent(path: str) -> NotFound:
    return NotFound(f"{_SCHEME}{path} does not exist, or the store may not read it")


def _wrong(message: str) -> InvalidArgument:
    return InvalidArgument("source", message)
