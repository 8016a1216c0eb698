"""An engine without a model: engine.proto's rules over real gRPC, with tokens that the test chooses."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import grpc
import grpc.aio

from chorus_proto.engine.v1 import engine_pb2 as pb
from chorus_proto.engine.v1 import engine_pb2_grpc

TOKEN = "a-secret-of-the-services"
CHUNK = 1 << 20


@dataclass(frozen=True)
class Reply:
    """What a submission is answered. Cut at its max_tokens, with FINISH_REASON_LENGTH then."""

    tokens: Sequence[int]
    pause: float = 0.0  # seconds before each token
    finish: pb.FinishReason = pb.FINISH_REASON_STOP
    error: pb.Error | None = None  # ends the submission after the tokens
    cached: int = 0
    hang: bool = False  # never ends by itself
    together: int = 1  # tokens a delta


Replier = Callable[[pb.Submit], Reply]


@dataclass(eq=False)
class Stream:
    """A gateway's session, as the engine sees it."""

    frames: asyncio.Queue[pb.EngineFrame | None] = field(default_factory=asyncio.Queue)
    head: pb.Head = field(default_factory=pb.Head)
    credits: int = 0  # granted and not spent
    tasks: dict[tuple[str, int], asyncio.Task[None]] = field(default_factory=dict)


class FakeEngine(engine_pb2_grpc.EngineServicer):
    def __init__(
        self,
        bundle: bytes = b"",
        *,
        replier: Replier,
        model: str = "chorus-demo",
        model_digest: str = "b" * 64,
        engine_id: str = "engine-1",
        max_model_len: int = 512,
        max_num_seqs: int = 8,
        eos: int = 0,
    ) -> None:
        self.replier = replier
        self.submits: list[pb.Submit] = []
        self.cancels: list[tuple[str, float]] = []  # request id, time on the monotonic clock
        self.returned = 0  # credits
        self.port = 0
        self.granting = True
        self.keep_deadlines = True
        self._bundle = bundle
        self._streams: list[Stream] = []
        self._server: grpc.aio.Server | None = None
        self.description = pb.DescribeResponse(
            engine_id=engine_id,
            model=pb.ModelSpec(name=model, digest=model_digest, vocab_size=1000),
            tokenizer_digest=hashlib.sha256(bundle).hexdigest(),
            max_model_len=max_model_len,
            max_num_seqs=max_num_seqs,
            eos_token_ids=[eos],
            max_lora_rank=64,
        )

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def running(self) -> int:
        return sum(len(stream.tasks) for stream in self._streams)

    @property
    def outstanding(self) -> int:
        return sum(stream.credits for stream in self._streams)

    async def start(self) -> "FakeEngine":
        """On a free port the first time, on the same one after `stop`."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        engine_pb2_grpc.add_EngineServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()
        return self

    async def stop(self) -> None:
        """As a kill would: streams break without a word."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def Describe(self, request: pb.DescribeRequest, context: object) -> pb.DescribeResponse:
        await _check(context)
        return self.description

    async def FetchTokenizer(
        self, request: pb.FetchTokenizerRequest, context: object
    ) -> AsyncIterator[pb.TokenizerChunk]:
        await _check(context)
        if request.digest != self.description.tokenizer_digest:
            await _context(context).abort(grpc.StatusCode.NOT_FOUND, "no such tokenizer here")
        for at in range(0, len(self._bundle), CHUNK):
            yield pb.TokenizerChunk(data=self._bundle[at : at + CHUNK])

    async def Session(self, request_iterator: object, context: object) -> AsyncIterator[pb.EngineFrame]:
        await _check(context)
        frames = aiter(request_iterator)  # type: ignore[call-overload]  # the stub's type also allows the sync iterator
        first = await anext(frames, None)
        if first is None or not first.HasField("hello"):
            await _context(context).abort(grpc.StatusCode.FAILED_PRECONDITION, "the first frame must carry hello")
            return
        stream = Stream()
        self._streams.append(stream)
        reader = asyncio.create_task(self._read(stream, first, frames))
        try:
            while (frame := await stream.frames.get()) is not None:
                yield frame
        finally:
            reader.cancel()
            self._streams.remove(stream)
            for task in stream.tasks.values():
                task.cancel()
            self._grant()

    async def _read(self, stream: Stream, first: pb.GatewayFrame, frames: AsyncIterator[pb.GatewayFrame]) -> None:
        self._apply(stream, first)
        async for frame in frames:
            self._apply(stream, frame)
        stream.frames.put_nowait(None)

    def _apply(self, stream: Stream, frame: pb.GatewayFrame) -> None:
        for cancel in frame.cancels:
            self.cancels.append((cancel.request_id, time.monotonic()))
            task = stream.tasks.pop((cancel.request_id, cancel.attempt), None)
            if task is not None:
                task.cancel()
                self._send(stream, cancel, finish_reason=pb.FINISH_REASON_CANCELLED, usage=pb.Usage())
        stream.credits -= frame.returned_credits
        self.returned += frame.returned_credits
        for submit in frame.submits:
            self._submit(stream, submit)
        if frame.HasField("head"):
            stream.head.CopyFrom(frame.head)
        self._grant()

    def _submit(self, stream: Stream, submit: pb.Submit) -> None:
        self.submits.append(submit)
        if stream.credits < 1:
            self._fail(stream, submit, pb.ERROR_CODE_NO_CREDIT, "no credit is left: wait for one")
            return
        stream.credits -= 1
        stream.head.waiting = max(0, stream.head.waiting - 1)
        most = self.description.max_model_len
        wanted = len(submit.prompt_token_ids) + submit.sampling.max_tokens
        if not submit.prompt_token_ids or submit.sampling.max_tokens < 1 or wanted > most:
            self._fail(stream, submit, pb.ERROR_CODE_INVALID, f"{wanted} tokens do not fit {most}")
            return
        key = (submit.request_id, submit.attempt)
        stream.tasks[key] = asyncio.create_task(self._generate(stream, submit))

    async def _generate(self, stream: Stream, submit: pb.Submit) -> None:
        try:
            async with asyncio.timeout(submit.timeout_ms / 1000 if submit.timeout_ms and self.keep_deadlines else None):
                last = await self._tokens(stream, submit)
        except TimeoutError:
            last = pb.Delta(finish_reason=pb.FINISH_REASON_DEADLINE, usage=pb.Usage())
        last.request_id, last.attempt = submit.request_id, submit.attempt
        del stream.tasks[submit.request_id, submit.attempt]
        stream.frames.put_nowait(pb.EngineFrame(deltas=[last]))
        self._grant()

    async def _tokens(self, stream: Stream, submit: pb.Submit) -> pb.Delta:
        reply = self.replier(submit)
        tokens = list(reply.tokens)[: submit.sampling.max_tokens]
        for at in range(0, len(tokens), reply.together):
            await asyncio.sleep(reply.pause)
            some = tokens[at : at + reply.together]
            self._send(stream, submit, token_ids=some, logprobs=_logprobs(submit, some))
        if reply.hang:
            await asyncio.sleep(3600)
        usage = pb.Usage(
            prompt_tokens=len(submit.prompt_token_ids), completion_tokens=len(tokens), cached_tokens=reply.cached
        )
        if reply.error is not None:
            return pb.Delta(finish_reason=pb.FINISH_REASON_ERROR, error=reply.error, usage=usage)
        cut = len(tokens) < len(reply.tokens) or len(tokens) == submit.sampling.max_tokens
        return pb.Delta(finish_reason=pb.FINISH_REASON_LENGTH if cut else reply.finish, usage=usage)

    def _fail(self, stream: Stream, submit: pb.Submit, code: pb.ErrorCode, message: str) -> None:
        error = pb.Error(code=code, message=message)
        self._send(stream, submit, finish_reason=pb.FINISH_REASON_ERROR, error=error, usage=pb.Usage())

    def _send(self, stream: Stream, to: "pb.Submit | pb.Cancel", **fields: object) -> None:
        delta = pb.Delta(request_id=to.request_id, attempt=to.attempt, **fields)  # type: ignore[arg-type]
        stream.frames.put_nowait(pb.EngineFrame(deltas=[delta]))

    def _grant(self) -> None:
        """One credit at a time, to the stream whose head is the lowest."""
        while self.granting and self.running + self.outstanding < self.description.max_num_seqs:
            waiting = [stream for stream in self._streams if stream.head.waiting > stream.credits]
            if not waiting:
                return
            lowest = min(waiting, key=lambda stream: (stream.head.band, stream.head.counter))
            lowest.credits += 1
            lowest.frames.put_nowait(pb.EngineFrame(credits=1))


def _logprobs(submit: pb.Submit, tokens: Sequence[int]) -> list[pb.TokenLogprobs]:
    """-0.5 for each token; the n likeliest are the token and those that follow it."""
    if not submit.sampling.HasField("logprobs"):
        return []
    count = submit.sampling.logprobs
    tops = [[token + more for more in range(count)] for token in tokens]
    return [
        pb.TokenLogprobs(logprob=-0.5, top_token_ids=top, top_logprobs=[-0.5 - more for more in range(count)])
        for top in tops
    ]


def _context(context: object) -> "grpc.aio.ServicerContext[object, object]":
    return cast("grpc.aio.ServicerContext[object, object]", context)  # the stub's type also allows the sync server's


async def _check(context: object) -> None:
    metadata = dict(_context(context).invocation_metadata() or ())
    if metadata.get("authorization") != f"Bearer {TOKEN}":
        await _context(context).abort(grpc.StatusCode.UNAUTHENTICATED, "the service token is missing or wrong")
