"""Some bytes, and how they get into blobs."""

import hashlib
import random
from pathlib import Path

from chorus_adapter_store.blobs import Blobs
from chorus_adapter_store.blobs.protocol import CHUNK_BYTES


def content_of(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


CONTENT = content_of(3 * CHUNK_BYTES + 17)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


async def store(blobs: Blobs, content: bytes = CONTENT) -> str:
    async with blobs.upload() as upload:
        for at in range(0, len(content), CHUNK_BYTES):
            await upload.write(content[at : at + CHUNK_BYTES])
        digest = await upload.seal()
        await upload.keep()
        return digest


async def load(blobs: Blobs, digest: str = DIGEST, size: int = len(CONTENT)) -> bytes:
    return b"".join([chunk async for chunk in blobs.read(digest, size)])


def files_below(root: Path) -> set[str]:
    return {path.name for path in root.rglob("*") if path.is_file() and path.name != "lock"}
