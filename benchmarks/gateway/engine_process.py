"""An engine without a model, over real gRPC: it grants credits as engines do, and gives tokens as fast as asked to.

usage: python -m benchmarks.gateway.engine_process MODEL_FOLDER SERVICE_TOKEN MAX_NUM_SEQS

Prints its port. A submission with a seed gets a token a step, each a delta of its own, and its steps are `seed`
microseconds long; one without gets its whole answer in one delta. It takes traces as a collector does, and drops them.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import uvloop

from benchmarks.gateway.frames import Answer
from chorus_engine.rpc import STANDING
from chorus_engine.rpc.bundle import TokenizerBundle, read_bundle
from chorus_proto.engine.v1 import engine_pb2 as pb

NAME = "chorus-demo"
CONTEXT = 32_768
_TRACES = "opentelemetry.proto.collector.trace.v1.TraceService"


class Stream:
    """One gateway worker's. Submissions with the same time between tokens share their steps, and a step is a frame."""

    def __init__(self, engine: "StubEngine") -> None:
        self._engine = engine
        self._said: list[bytes] = []  # parts of the next frame
        self._news = asyncio.Event()
        self._steps: dict[int, dict[tuple[str, int], Answer]] = {}  # by microseconds a step
        self._waiting = 0
        self._held = 0  # credits
        self._standing = 0  # of those, the ones that it may hold although nothing waits
        self._granted = 0  # credits of the next frame: parts are joined, and of a number's parts the last would stand

    def apply(self, frame: pb.GatewayFrame) -> None:
        for cancel in frame.cancels:
            self._cancel((cancel.request_id, cancel.attempt))
        self._hold(-min(frame.returned_credits, self._held))
        for submit in frame.submits:
            self._hold(-1)
            self._submit(Answer(submit))
        if frame.HasField("head"):
            self._waiting = frame.head.waiting
            if self._waiting and self._granted:
                self._news.set()
        self.grant()

    def grant(self) -> None:
        """At once where something waits; what stands goes with the next frame."""
        standing = STANDING if self._engine.quiet else 0
        credits = max(0, min(max(self._waiting, standing) - self._held, self._engine.free))
        if standing != self._standing:
            self._said.append(pb.EngineFrame(standing_credits=standing).SerializeToString())
        if standing < self._standing or (credits and self._waiting):
            self._news.set()
        self._granted += credits
        self._standing = standing
        self._hold(credits)

    async def frames(self) -> AsyncIterator[bytes]:
        """What the gateway has not read is joined, but no two tokens into one delta."""
        while True:
            await self._news.wait()
            self._news.clear()
            said, self._said = self._said, []
            if self._granted:
                said.append(pb.EngineFrame(credits=self._granted).SerializeToString())
                self._granted = 0
            yield b"".join(said)

    def close(self) -> None:
        for step in self._steps.values():
            self._engine.running -= len(step)
            step.clear()
        self._hold(-self._held)
        self._engine.leave(self)

    def _submit(self, answer: Answer) -> None:
        if answer.pause is None:
            self._say(answer.whole())
            return
        self._engine.running += 1
        running = self._steps.setdefault(answer.pause, {})
        if not running:
            asyncio.get_running_loop().call_soon(self._step, answer.pause, asyncio.get_running_loop().time())
        running[answer.key] = answer

    def _step(self, pause: int, due: float) -> None:
        """Due times do not drift, however late a step is."""
        running = self._steps[pause]
        ended = []
        for key, answer in running.items():
            self._said.append(answer.next())
            if answer.ended:
                ended.append(key)
        self._news.set()
        for key in ended:
            self._end(running, key)
        if running:
            due += 1e-6 * pause
            asyncio.get_running_loop().call_at(due, self._step, pause, due)

    def _cancel(self, key: tuple[str, int]) -> None:
        for running in self._steps.values():
            if key in running:
                self._say(running[key].cancelled())
                self._end(running, key)

    def _end(self, running: dict[tuple[str, int], Answer], key: tuple[str, int]) -> None:
        del running[key]
        self._engine.running -= 1
        self._engine.grant()

    def _say(self, part: bytes) -> None:
        self._said.append(part)
        self._news.set()

    def _hold(self, credits: int) -> None:
        self._held += credits
        self._engine.held += credits


class StubEngine(grpc.GenericRpcHandler):
    def __init__(self, bundle: TokenizerBundle, token: str, max_num_seqs: int) -> None:
        self.running = 0
        self.held = 0
        self._streams: list[Stream] = []
        self._bundle = bundle
        self._key = ("authorization", f"Bearer {token}")
        self._most = max_num_seqs
        description = pb.DescribeResponse(
            engine_id="stub",
            model=pb.ModelSpec(name=NAME, digest="b" * 64, vocab_size=384),
            tokenizer_digest=bundle.digest,
            max_model_len=CONTEXT,
            max_num_seqs=max_num_seqs,
            eos_token_ids=[0],
        )
        self._description = description.SerializeToString()

    @property
    def free(self) -> int:
        return self._most - self.running - self.held

    @property
    def quiet(self) -> bool:
        """Whether requests need not wait for one another."""
        return self.running <= self._most // 2

    def grant(self) -> None:
        """What is free goes to any stream, whoever left it."""
        for stream in self._streams:
            stream.grant()

    def leave(self, stream: Stream) -> None:
        self._streams.remove(stream)
        self.grant()

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        method = (details.method or "").rpartition("/")
        if method[0] == f"/{_TRACES}":
            return grpc.unary_unary_rpc_method_handler(_drop)
        if self._key not in tuple(details.invocation_metadata or ()):
            return None
        match method[2]:
            case "Describe":
                return grpc.unary_unary_rpc_method_handler(self._describe)
            case "FetchTokenizer":
                return grpc.unary_stream_rpc_method_handler(self._fetch)
            case "Session":
                return grpc.stream_stream_rpc_method_handler(
                    self._session, request_deserializer=pb.GatewayFrame.FromString
                )
        return None

    async def _describe(self, request: bytes, context: Any) -> bytes:
        return self._description

    async def _fetch(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        for chunk in self._bundle.chunks():
            yield pb.TokenizerChunk(data=bytes(chunk)).SerializeToString()

    async def _session(self, requests: AsyncIterator[pb.GatewayFrame], context: Any) -> AsyncIterator[bytes]:
        stream = Stream(self)
        self._streams.append(stream)

        async def read() -> None:
            async for frame in requests:
                stream.apply(frame)

        reader = asyncio.create_task(read())
        context.add_done_callback(lambda _: reader.cancel())
        context.add_done_callback(lambda _: stream.close())
        stream.grant()
        yield pb.EngineFrame(residency=pb.Residency(whole=True), load=pb.Load()).SerializeToString()
        async for frame in stream.frames():
            yield frame


async def _drop(request: bytes, context: Any) -> bytes:
    return b""


async def serve(folder: Path, token: str, max_num_seqs: int) -> None:
    server = grpc.aio.server(
        options=[
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", 64 << 20),
            ("grpc.http2.min_ping_interval_without_data_ms", 2_000),
        ]
    )
    server.add_generic_rpc_handlers((StubEngine(read_bundle(folder), token, max_num_seqs),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
