"""chorus.engine.v1.Engine."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import grpc

from chorus_engine.core.spec import LinearModule, ModelSpec
from chorus_engine.rpc.bundle import TokenizerBundle
from chorus_engine.rpc.outbox import OutboxOverflow
from chorus_engine.rpc.sessions import Sessions, Stream
from chorus_proto.engine.v1 import engine_pb2 as pb
from chorus_proto.engine.v1.engine_pb2_grpc import EngineServicer

if TYPE_CHECKING:  # names that exist in the stubs alone
    from chorus_proto.engine.v1.engine_pb2_grpc import _MaybeAsyncIterator, _ServicerContext

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Description:
    """What `Describe` says. Constant for the life of the process."""

    engine_id: str
    spec: ModelSpec
    max_model_len: int
    max_num_seqs: int
    max_lora_rank: int
    # Of modules outside the layers: dtype → SHA-256 of the base's own matrix.
    whole: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def to_response(self, tokenizer_digest: str) -> pb.DescribeResponse:
        return pb.DescribeResponse(
            engine_id=self.engine_id,
            model=_to_model(self.spec, self.whole),
            tokenizer_digest=tokenizer_digest,
            max_model_len=self.max_model_len,
            max_num_seqs=self.max_num_seqs,
            eos_token_ids=self.spec.eos_token_ids,
            max_lora_rank=self.max_lora_rank,
        )


class EngineService(EngineServicer):
    def __init__(self, description: Description, bundle: TokenizerBundle, sessions: Sessions) -> None:
        self._description = description.to_response(bundle.digest)
        self._bundle = bundle
        self._sessions = sessions

    async def Describe(self, request: pb.DescribeRequest, context: "_ServicerContext") -> pb.DescribeResponse:
        return self._description

    async def FetchTokenizer(
        self, request: pb.FetchTokenizerRequest, context: "_ServicerContext"
    ) -> AsyncIterator[pb.TokenizerChunk]:
        if request.digest != self._bundle.digest:
            await context.abort(
                grpc.StatusCode.NOT_FOUND,
                f"this engine's tokenizer is {self._bundle.digest}, not {request.digest[:80]!r}; call Describe again.",
            )
        for chunk in self._bundle.chunks():
            yield pb.TokenizerChunk(data=bytes(chunk))

    async def OrphanedUsage(
        self, request: pb.OrphanedUsageRequest, context: "_ServicerContext"
    ) -> pb.OrphanedUsageResponse:
        return self._sessions.usage_of(request.worker_id)

    async def AcknowledgeUsage(
        self, request: pb.AcknowledgeUsageRequest, context: "_ServicerContext"
    ) -> pb.AcknowledgeUsageResponse:
        self._sessions.acknowledge(request.worker_id, request.submissions)
        return pb.AcknowledgeUsageResponse()

    async def Session(
        self, request_iterator: "_MaybeAsyncIterator[pb.GatewayFrame]", context: "_ServicerContext"
    ) -> AsyncIterator[pb.EngineFrame]:
        frames = aiter(request_iterator)
        first = await anext(frames, None)
        if first is None or not first.HasField("hello"):
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the first frame of a stream must carry hello.")
        assert first is not None
        stream = self._sessions.open(first.hello.worker_id)
        # Not in a `finally`: a generator whose reader is gone is left suspended at its yield.
        _when_done(context, lambda: self._sessions.close(stream))
        reader = asyncio.create_task(self._read(stream, first, frames))
        _when_done(context, reader.cancel)
        try:
            while (frame := await stream.outbox.take()) is not None:
                yield frame
            reader.cancel()  # before the call ends under its read
        except OutboxOverflow:
            reader.cancel()
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "the stream was not read and its outbox is full; always read."
            )

    async def _read(self, stream: Stream, first: pb.GatewayFrame, frames: AsyncIterator[pb.GatewayFrame]) -> None:
        """Apply frames until the gateway has no more; then the stream ends, and its requests with it."""
        try:
            self._sessions.apply(stream, first)
            async for frame in frames:
                self._sessions.apply(stream, frame)
        except Exception:
            log.exception("session reader failed", extra={"worker_id": stream.worker_id})
        finally:
            self._sessions.close(stream)


def _when_done(context: "_ServicerContext", call: Callable[[], object]) -> None:
    context.add_done_callback(lambda _: call())  # type: ignore[arg-type]  # typed as a class that cannot be made


def _to_model(spec: ModelSpec, whole: Mapping[str, Mapping[str, str]]) -> pb.ModelSpec:
    return pb.ModelSpec(
        name=spec.name,
        digest=spec.digest,
        architecture=spec.architecture,
        dtype=spec.dtype,
        num_layers=spec.num_layers,
        hidden_size=spec.hidden_size,
        vocab_size=spec.vocab_size,
        modules=[_to_module(module) for module in spec.modules],
        outer_modules=[_to_module(module, whole.get(module.path, {})) for module in spec.outer_modules],
    )


def _to_module(module: LinearModule, whole: Mapping[str, str] = MappingProxyType({})) -> pb.LinearModule:
    return pb.LinearModule(
        path=module.path, in_features=module.in_features, out_features=module.out_features, weight_sha256=whole
    )
