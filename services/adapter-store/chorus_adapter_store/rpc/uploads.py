"""Publish's stream of messages as a header and the parts of two files."""

import asyncio
from collections.abc import AsyncIterator

from chorus_adapter_store.errors import InvalidArgument, Stalled
from chorus_adapter_store.telemetry.metrics import Metrics
from chorus_adapter_store.uploading import Part
from chorus_proto.adapters.v1 import adapters_pb2 as pb

MAX_CHUNK_BYTES = 1 << 20


class UploadStream:
    def __init__(self, requests: AsyncIterator[pb.PublishRequest], idle_seconds: float, metrics: Metrics) -> None:
        self._requests = aiter(requests)
        self._idle_seconds = idle_seconds
        self._metrics = metrics

    async def header(self) -> pb.PublishHeader:
        """The first message. Raises InvalidArgument or Stalled."""
        request = await self._next()
        if request is None or request.WhichOneof("part") != "header":
            raise InvalidArgument("header", "the first message of an upload must carry it")
        return request.header

    async def parts(self) -> AsyncIterator[Part]:
        """Until `commit`. Raises InvalidArgument when the stream ends without it, or Stalled."""
        while (request := await self._next()) is not None:
            match request.WhichOneof("part"):
                case "commit":
                    return
                case "chunk":
                    self._metrics.upload_bytes.inc(len(request.chunk.data))
                    yield _part(request.chunk)
                case kind:
                    raise InvalidArgument("part", f"{kind or 'nothing'} where a chunk or a commit was expected")
        raise InvalidArgument("commit", "the upload ended without it; nothing was stored")

    async def _next(self) -> pb.PublishRequest | None:
        try:
            async with asyncio.timeout(self._idle_seconds):
                return await anext(self._requests, None)
        except TimeoutError:
            raise Stalled(f"the upload paused for more than {self._idle_seconds:g} s; nothing was stored") from None


def _part(chunk: pb.FileChunk) -> Part:
    if len(chunk.data) > MAX_CHUNK_BYTES:
        raise InvalidArgument("data", f"a chunk has {len(chunk.data)} bytes, more than the {MAX_CHUNK_BYTES} allowed")
    return chunk.file, chunk.data
