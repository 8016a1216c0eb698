"""A gateway worker's side of one stream, as small as can be."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc.aio

from chorus_proto.engine.v1 import engine_pb2 as pb
from chorus_proto.engine.v1.engine_pb2_grpc import EngineStub
from tests.contracts.engine.support.process import TOKEN

METADATA = (("authorization", f"Bearer {TOKEN}"),)
SECONDS = 60.0


@dataclass
class Answer:
    """All deltas of one submission, joined."""

    token_ids: list[int] = field(default_factory=list)
    logprobs: list[pb.TokenLogprobs] = field(default_factory=list)
    prompt_logprobs: list[pb.TokenLogprobs] = field(default_factory=list)
    last: pb.Delta | None = None

    @property
    def end(self) -> pb.Delta:
        assert self.last is not None, "the submission has not ended"
        return self.last


class Gateway:
    """Reads always; keeps what came, and lets tests wait for it."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.credits = 0
        self.answers: dict[tuple[str, int], Answer] = {}
        self.load: pb.Load | None = None
        self.tiers: dict[str, int] = {}  # where adapters are, as the engine told
        self.frames = 0
        self._news = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    async def send(self, **fields: Any) -> None:
        await self.call.write(pb.GatewayFrame(**fields))

    async def ask_for_credits(self, waiting: int, band: pb.Band = pb.BAND_DEFAULT, counter: float = 0.0) -> None:
        await self.send(head=pb.Head(waiting=waiting, band=band, counter=counter))

    async def submit(self, *submits: pb.Submit) -> None:
        """With a credit for each, and nothing waiting afterwards."""
        await self.ask_for_credits(len(submits))
        await self.wait_for(lambda: self.credits >= len(submits))
        self.credits -= len(submits)
        await self.send(submits=submits, head=pb.Head(waiting=0))

    async def answer(self, request_id: str, attempt: int = 0) -> Answer:
        """When the submission has ended."""
        key = (request_id, attempt)
        await self.wait_for(lambda: key in self.answers and self.answers[key].last is not None)
        return self.answers[key]

    async def ask(self, submit: pb.Submit) -> Answer:
        await self.submit(submit)
        return await self.answer(submit.request_id, submit.attempt)

    async def wait_for(self, condition: Any, seconds: float = SECONDS) -> None:
        async with self._news:
            await asyncio.wait_for(self._news.wait_for(condition), seconds)

    async def close(self) -> None:
        self.call.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self) -> None:
        async for frame in self.call:
            async with self._news:
                self._take(frame)
                self._news.notify_all()

    def _take(self, frame: pb.EngineFrame) -> None:
        self.frames += 1
        self.credits += frame.credits
        if frame.HasField("load"):
            self.load = frame.load
        if frame.residency.whole:
            self.tiers.clear()
        self.tiers.update((held.digest, held.tier) for held in frame.residency.held)
        for digest in frame.residency.gone:
            self.tiers.pop(digest, None)
        for delta in frame.deltas:
            answer = self.answers.setdefault((delta.request_id, delta.attempt), Answer())
            assert answer.last is None, "a delta after the last one"
            answer.token_ids.extend(delta.token_ids)
            answer.logprobs.extend(delta.logprobs)
            answer.prompt_logprobs.extend(delta.prompt_logprobs)
            if delta.finish_reason:
                answer.last = delta


@asynccontextmanager
async def open_channel(address: str) -> AsyncIterator[Any]:
    """A stub for the engine."""
    async with grpc.aio.insecure_channel(address) as channel:
        yield EngineStub(channel)


@asynccontextmanager
async def open_gateway(address: str, worker_id: str = "worker") -> AsyncIterator[Gateway]:
    async with open_channel(address) as stub:
        gateway = Gateway(stub.Session(metadata=METADATA))
        await gateway.send(hello=pb.Hello(worker_id=worker_id))
        yield gateway
        await gateway.close()


def sampling(max_tokens: int = 8, **fields: Any) -> pb.SamplingParams:
    """Greedy, and to the last token, unless said otherwise."""
    plain: dict[str, Any] = {"temperature": 0.0, "top_p": 1.0, "repetition_penalty": 1.0, "ignore_eos": True}
    return pb.SamplingParams(max_tokens=max_tokens, **(plain | fields))


def submit(request_id: str, prompt: Iterable[int] = (5, 6, 7), **fields: Any) -> pb.Submit:
    plain: dict[str, Any] = {"cache_namespace": b"n" * 32, "band": pb.BAND_DEFAULT, "sampling": sampling()}
    return pb.Submit(request_id=request_id, prompt_token_ids=prompt, **(plain | fields))
