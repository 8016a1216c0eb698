"""An engine without a model: engine.proto's rules over real gRPC, with tokens that the test chooses."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import grpc
import grpc.aio

from chorus_proto.engine.v1 import engine_pb2 as pb
from chorus_proto.engine.v1 import engine_pb2_grpc
from tests.gateway.support.fake_beams import beams_of
from tests.gateway.support.fake_logprobs import HIDDEN, logprobs_of, read_of
from tests.gateway.support.fake_refusals import refusal
from tests.gateway.support.fake_residency import FakeResidency, joined
from tests.gateway.support.fake_usage import FakeUsage

TOKEN = "a-secret-of-the-services"
CHUNK = 1 << 20


@dataclass(frozen=True)
class Reply:
    """What a submission is answered, up to its max_tokens or a stop token. After the tokens it ends with a stop."""

    tokens: Sequence[int]
    pause: float = 0.0  # seconds before each token
    error: pb.Error | None = None  # ends the submission after the tokens
    cached: int = 0
    drafted: int = 0
    accepted: int = 0
    hang: bool = False  # never ends by itself
    together: int = 1  # tokens a delta


Replier = Callable[[pb.Submit], Reply]


@dataclass(eq=False)
class Running:
    submit: pb.Submit
    produced: int = 0
    task: asyncio.Task[None] = field(init=False)

    def delta(self, **fields: Any) -> pb.Delta:
        return pb.Delta(request_id=self.submit.request_id, attempt=self.submit.attempt, **fields)

    def end(self, finish: pb.FinishReason, error: pb.Error | None = None) -> pb.Delta:
        timing = pb.Timing(queued_us=1, prefill_us=10, decode_us=100)
        return self.delta(finish_reason=finish, usage=self.usage(), timing=timing, error=error)

    def usage(self, cached: int = 0) -> pb.Usage:
        prompt = len(self.submit.prompt_token_ids)
        computed = prompt + max(0, self.produced - 1) - cached
        return pb.Usage(
            prompt_tokens=prompt, completion_tokens=self.produced, cached_tokens=cached, computed_tokens=computed
        )


@dataclass(eq=False)
class Stream:
    """A gateway's session, as the engine sees it."""

    worker_id: str
    frames: asyncio.Queue[pb.EngineFrame | None] = field(default_factory=asyncio.Queue)
    head: pb.Head = field(default_factory=pb.Head)
    credits: int = 0  # granted and not spent
    running: dict[tuple[str, int], Running] = field(default_factory=dict)


class FakeEngine(engine_pb2_grpc.EngineServicer):
    def __init__(
        self,
        bundle: bytes = b"",
        *,
        replier: Replier,
        token: str = TOKEN,
        vocab_size: int = 1000,
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
        self.stalled = False
        self.adapters = FakeResidency(self._tell)
        self.usage = FakeUsage()
        self._bundle = bundle
        self._token = token
        self._streams: list[Stream] = []
        self._server: grpc.aio.Server | None = None
        self.description = pb.DescribeResponse(
            engine_id=engine_id,
            model=pb.ModelSpec(name=model, digest=model_digest, vocab_size=vocab_size, hidden_size=HIDDEN),
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
        return sum(len(stream.running) for stream in self._streams)

    @property
    def sessions(self) -> int:
        return len(self._streams)

    @property
    def outstanding(self) -> int:
        return sum(stream.credits for stream in self._streams)

    def stall(self, stalled: bool = True) -> None:
        """Or come back to life. It goes on to do what a test has not told it not to: only its word counts here."""
        self.stalled = stalled
        self._tell(None)

    def _tell(self, residency: pb.Residency | None) -> None:
        for stream in self._streams:
            stream.frames.put_nowait(pb.EngineFrame(residency=residency))

    async def start(self) -> "FakeEngine":
        """On a free port the first time, on the same one after `stop`."""
        options = [("grpc.so_reuseport", 0), ("grpc.http2.min_ping_interval_without_data_ms", 2_000)]
        self._server = grpc.aio.server(options=options)
        engine_pb2_grpc.add_EngineServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()
        return self

    async def stop(self) -> None:
        """As a kill would: streams break without a word."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def _check(self, context: object) -> None:
        metadata = dict(_context(context).invocation_metadata() or ())
        if metadata.get("authorization") != f"Bearer {self._token}":
            message = "the service token is missing or wrong: both sides must have the same CHORUS_SERVICE_TOKEN"
            await _context(context).abort(grpc.StatusCode.UNAUTHENTICATED, message)

    async def Describe(self, request: pb.DescribeRequest, context: object) -> pb.DescribeResponse:
        await self._check(context)
        return self.description

    async def FetchTokenizer(
        self, request: pb.FetchTokenizerRequest, context: object
    ) -> AsyncIterator[pb.TokenizerChunk]:
        await self._check(context)
        if request.digest != self.description.tokenizer_digest:
            await _context(context).abort(grpc.StatusCode.NOT_FOUND, "no such tokenizer here")
        for at in range(0, len(self._bundle), CHUNK):
            yield pb.TokenizerChunk(data=self._bundle[at : at + CHUNK])

    async def OrphanedUsage(self, request: pb.OrphanedUsageRequest, context: object) -> pb.OrphanedUsageResponse:
        await self._check(context)
        streams = [stream for stream in self._streams if stream.worker_id == request.worker_id]
        return self.usage.answer(request.worker_id, [name for stream in streams for name in stream.running])

    async def AcknowledgeUsage(
        self, request: pb.AcknowledgeUsageRequest, context: object
    ) -> pb.AcknowledgeUsageResponse:
        await self._check(context)
        self.usage.acknowledge(request.worker_id, request.submissions)
        return pb.AcknowledgeUsageResponse()

    async def Session(self, request_iterator: Any, context: object) -> AsyncIterator[pb.EngineFrame]:
        await self._check(context)
        frames: AsyncIterator[pb.GatewayFrame] = aiter(request_iterator)
        first = await anext(frames, None)
        if first is None or not first.HasField("hello"):
            await _context(context).abort(grpc.StatusCode.FAILED_PRECONDITION, "the first frame must carry hello")
        stream = Stream(first.hello.worker_id)
        self._streams.append(stream)
        stream.frames.put_nowait(pb.EngineFrame(residency=self.adapters.whole()))
        reader = asyncio.create_task(self._read(stream, first, frames))
        try:
            while (frame := await stream.frames.get()) is not None:
                yield self._joined(stream, frame)
        finally:
            reader.cancel()
            self._streams.remove(stream)
            for running in stream.running.values():
                running.task.cancel()
                self.usage.keep(stream.worker_id, running.end(pb.FINISH_REASON_CANCELLED))
            self._grant()

    def _joined(self, stream: Stream, frame: pb.EngineFrame) -> pb.EngineFrame:
        """With all else that is ready to be sent: one frame a step."""
        while not stream.frames.empty() and (more := stream.frames.get_nowait()) is not None:
            frame.deltas.extend(more.deltas)
            frame.credits += more.credits
            if more.HasField("residency"):
                frame.residency.CopyFrom(joined(frame.residency, more.residency))
        load = pb.Load(running=self.running, free_blocks=100 - self.running, total_blocks=100, stalled=self.stalled)
        load.free_slots = self.adapters.free_slots
        frame.load.CopyFrom(load)
        return frame

    async def _read(self, stream: Stream, first: pb.GatewayFrame, frames: AsyncIterator[pb.GatewayFrame]) -> None:
        self._apply(stream, first)
        async for frame in frames:
            self._apply(stream, frame)
        stream.frames.put_nowait(None)

    def _apply(self, stream: Stream, frame: pb.GatewayFrame) -> None:
        for cancel in frame.cancels:
            self._cancel(stream, cancel)
        stream.credits -= frame.returned_credits
        self.returned += frame.returned_credits
        for submit in frame.submits:
            self._submit(stream, submit)
        if frame.HasField("head"):
            stream.head.CopyFrom(frame.head)
        self.usage.acknowledge(stream.worker_id, frame.acknowledged)
        self._grant()

    def _cancel(self, stream: Stream, cancel: pb.Cancel) -> None:
        self.cancels.append((cancel.request_id, time.monotonic()))
        running = stream.running.pop((cancel.request_id, cancel.attempt), None)
        if running is not None:
            running.task.cancel()
            self._send(stream, running.end(pb.FINISH_REASON_CANCELLED))

    def _submit(self, stream: Stream, submit: pb.Submit) -> None:
        self.submits.append(submit)
        key = (submit.request_id, submit.attempt)
        error = None
        if stream.credits < 1:
            error = pb.Error(code=pb.ERROR_CODE_NO_CREDIT, message="no credit is left: wait for one")
        else:
            stream.credits -= 1
            stream.head.waiting = max(0, stream.head.waiting - 1)
            reason = refusal(submit, self.description)
            if any(key in other.running for other in self._streams):
                reason = f"{key} runs already"
            if reason is not None:
                error = pb.Error(code=pb.ERROR_CODE_INVALID, message=reason)
        running = Running(submit)
        if error is not None:
            self._send(stream, running.end(pb.FINISH_REASON_ERROR, error))
            return
        stream.running[key] = running
        running.task = asyncio.create_task(self._generate(stream, running))

    async def _generate(self, stream: Stream, running: Running) -> None:
        submit = running.submit
        seconds = submit.timeout_ms / 1000 if submit.timeout_ms and self.keep_deadlines else None
        try:
            async with asyncio.timeout(seconds):
                last = await self._tokens(stream, running)
        except TimeoutError:
            last = running.end(pb.FINISH_REASON_DEADLINE)
        del stream.running[submit.request_id, submit.attempt]
        self._send(stream, last)
        self._grant()

    async def _tokens(self, stream: Stream, running: Running) -> pb.Delta:
        submit = running.submit
        await self.adapters.need(submit.adapter_digest)
        reply = self.replier(submit)
        if submit.HasField("beam_search"):
            return await self._beams(stream, running, reply)
        tokens, finish = _cut(reply, submit.sampling)
        for at in range(0, len(tokens), reply.together):
            await asyncio.sleep(reply.pause)
            some = tokens[at : at + reply.together]
            running.produced += len(some)
            usage = None if at else running.usage(reply.cached)
            if usage is not None:
                usage.drafted_tokens, usage.accepted_tokens = reply.drafted, reply.accepted
            read = {} if at else read_of(submit)
            self._send(stream, running.delta(token_ids=some, logprobs=logprobs_of(submit, some), usage=usage, **read))
        if reply.hang:
            await asyncio.sleep(3600)
        last = running.end(finish) if reply.error is None else running.end(pb.FINISH_REASON_ERROR, reply.error)
        last.usage.cached_tokens = reply.cached
        last.usage.drafted_tokens, last.usage.accepted_tokens = reply.drafted, reply.accepted
        if not tokens and reply.error is None:
            last.MergeFrom(pb.Delta(**read_of(submit)))
        return last

    async def _beams(self, stream: Stream, running: Running, reply: Reply) -> pb.Delta:
        """Only usage comes before all of them."""
        beams = beams_of(running.submit, reply.tokens)
        for _ in max(beams, key=lambda beam: len(beam.token_ids)).token_ids:
            await asyncio.sleep(reply.pause)
            running.produced += len(beams)
            self._send(stream, running.delta(usage=running.usage(reply.cached)))
        if reply.hang:
            await asyncio.sleep(3600)
        running.produced = sum(len(beam.token_ids) for beam in beams)
        last = running.end(pb.FINISH_REASON_STOP)
        last.beams.extend(beams)
        return last

    def _send(self, stream: Stream, delta: pb.Delta) -> None:
        if delta.finish_reason:
            self.usage.keep(stream.worker_id, delta)
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


def _cut(reply: Reply, sampling: pb.SamplingParams) -> tuple[list[int], pb.FinishReason]:
    """A reply's tokens up to the first stop token or max_tokens, and what ends them."""
    tokens: list[int] = []
    if not sampling.max_tokens:
        return tokens, pb.FINISH_REASON_LENGTH
    for token in reply.tokens:
        tokens.append(token)
        if token in sampling.stop_token_ids:
            return tokens, pb.FINISH_REASON_STOP
        if len(tokens) == sampling.max_tokens:
            return tokens, pb.FINISH_REASON_LENGTH
    return tokens, pb.FINISH_REASON_STOP


def _context(context: object) -> "grpc.aio.ServicerContext[object, object]":
    return cast("grpc.aio.ServicerContext[object, object]", context)  # the stub's type also allows the sync server's
