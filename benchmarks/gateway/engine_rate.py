"""How fast the stub engine is where nobody but a counter reads: what the gateway is measured with must not be what is
measured."""

import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import grpc.aio
import uvloop

from benchmarks.gateway.stack import MODEL, SERVICE_TOKEN, engine_command, first_line, running
from chorus_proto.engine.v1 import engine_pb2 as pb

_METADATA = (("authorization", f"Bearer {SERVICE_TOKEN}"),)
_SUBMITS = 2_000


def rates(work: Path, *, streams: int, step: int, seconds: float) -> tuple[float, float]:
    """Tokens a second, each a delta of its own, with `step` microseconds between two of a stream; and requests a second
    that are answered whole, one after the other by as many as there are streams."""
    with running(engine_command(MODEL, streams), work / "engine-alone.log") as engine:
        port = int(first_line(engine, work / "engine-alone.log"))
        return uvloop.run(_tokens(port, streams, step, seconds)), uvloop.run(_requests(port, streams))


async def _tokens(port: int, streams: int, step: int, seconds: float) -> float:
    submits = [_submit(f"t{index}", tokens=1 << 20, step=step) for index in range(streams)]
    tokens, began = 0, 0.0
    async for frame in _converse(port, submits):
        began = began or time.monotonic()
        tokens += sum(len(delta.token_ids) for delta in frame.deltas)
        if time.monotonic() - began > seconds:
            break
    return tokens / (time.monotonic() - began)


async def _requests(port: int, at_once: int) -> float:
    submits = [_submit(f"r{index}", tokens=16) for index in range(_SUBMITS)]
    began, answered = time.monotonic(), 0
    async for frame in _converse(port, submits, at_once):
        answered += len(frame.deltas)
        if answered == _SUBMITS:
            break
    return answered / (time.monotonic() - began)


def _submit(request_id: str, *, tokens: int, step: int | None = None) -> pb.Submit:
    sampling = pb.SamplingParams(max_tokens=tokens, seed=step)
    return pb.Submit(request_id=request_id, prompt_token_ids=range(40), sampling=sampling)


async def _converse(port: int, submits: Iterable[pb.Submit], at_once: int = 1 << 20) -> AsyncIterator[pb.EngineFrame]:
    """Every credit is spent at once."""
    left = list(submits)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        method = channel.stream_stream(
            "/chorus.engine.v1.Engine/Session",
            request_serializer=pb.GatewayFrame.SerializeToString,
            response_deserializer=pb.EngineFrame.FromString,
        )
        call = method(metadata=_METADATA)
        head = pb.Head(waiting=min(at_once, len(left)))
        await call.write(pb.GatewayFrame(hello=pb.Hello(worker_id="counter"), head=head))
        async for frame in call:
            if frame.credits:
                now, left = left[: frame.credits], left[frame.credits :]
                head = pb.Head(waiting=min(at_once, len(left)))
                await call.write(pb.GatewayFrame(submits=now, head=head))
            yield frame
        call.cancel()
