"""Files to and from the adapter store, as streams."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, TypeAlias

import grpc

from chorus_gateway.adapters.calls import answered
from chorus_gateway.adapters.errors import from_status, is_said
from chorus_gateway.adapters.statuses import StatusWatch
from chorus_gateway.adapters.values import Download
from chorus_gateway.errors import InvalidRequest
from chorus_proto.adapters.v1 import adapters_pb2 as pb

CHUNK_BYTES = 1 << 20  # the store's limit for one message's data

Fetch: TypeAlias = "grpc.aio.UnaryStreamCall[pb.FetchRequest, pb.FetchChunk]"
Upload: TypeAlias = "grpc.aio.StreamUnaryCall[pb.PublishRequest, pb.PublishResponse]"


async def send(call: Upload, header: pb.PublishHeader, chunks: AsyncIterator[tuple[str, bytes]]) -> pb.PublishResponse:
    """(file, data) pairs as they come, committed at their end. When `chunks` raises, or the caller is cancelled, the
    call is cancelled."""
    statuses = StatusWatch(call)
    try:
        return await _write(call, header, chunks)
    except grpc.aio.AioRpcError as error:
        code, details = await statuses.final()
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:  # the store's: chunks stopped coming
            raise InvalidRequest(details or "The upload stalled; send it again.") from error
        raise from_status(code, details, said=is_said(await call.trailing_metadata())) from error
    finally:
        call.cancel()  # has no effect on a call that has ended


async def receive(call: Fetch, timeout: float) -> Download:
    """Of one file. `timeout`, in seconds, is for its first message."""
    try:
        async with asyncio.timeout(timeout):
            first = await _read(call)
    except TimeoutError as error:
        call.cancel()
        raise from_status(grpc.StatusCode.DEADLINE_EXCEEDED, None) from error
    if first is None:
        raise from_status(grpc.StatusCode.INTERNAL, "Fetch sent nothing")
    return Download(first.begin.size, first.begin.sha256, _chunks(call))


async def _write(
    call: Upload, header: pb.PublishHeader, chunks: AsyncIterator[tuple[str, bytes]]
) -> pb.PublishResponse:
    try:
        await call.write(pb.PublishRequest(header=header))
        async for file, data in chunks:
            for begin in range(0, len(data), CHUNK_BYTES):
                part = pb.FileChunk(file=file, data=data[begin : begin + CHUNK_BYTES])
                await call.write(pb.PublishRequest(chunk=part))
        await call.write(pb.PublishRequest(commit=pb.Commit()))
        await call.done_writing()
    except asyncio.InvalidStateError:
        pass  # the store has answered before the end; its answer says why
    return await call


async def _read(call: Fetch) -> pb.FetchChunk | None:
    """None at the end."""
    message: Any = await answered(call.read())
    return None if message is grpc.aio.EOF else message


async def _chunks(call: Fetch) -> AsyncGenerator[bytes]:
    held = b""
    try:
        while (message := await _read(call)) is not None:
            if held:
                yield held
            held = message.data
        yield held
    finally:
        call.cancel()  # has no effect on a call that has ended
