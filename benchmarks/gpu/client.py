"""A gateway's side of one `Session` stream that sends requests as they arrive and notes when tokens come."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import grpc.aio

from benchmarks.gpu.recording import Answer, Frame, Recording
from benchmarks.workloads import Item
from chorus_proto.engine.v1 import engine_pb2 as pb
from chorus_proto.engine.v1.engine_pb2_grpc import EngineStub

_OPTIONS = (("grpc.max_send_message_length", 16 << 20),)
_METADATA_KEY = "authorization"


class Client:
    """One stream. `play` runs one set of requests at a time."""

    def __init__(self, address: str, token: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        stub: Any = EngineStub(self._channel)
        self._call = stub.Session(metadata=((_METADATA_KEY, f"Bearer {token}"),))
        self._runs = 0
        self._credits = 0
        self._waiting: deque[pb.Submit] = deque()
        self._answers: dict[str, Answer] = {}
        self._recording = Recording([])
        self._left = 0
        self._news = asyncio.Event()  # something may be sent
        self._ended = asyncio.Event()  # every request of this run has ended

    async def open(self) -> None:
        await self._call.write(pb.GatewayFrame(hello=pb.Hello(worker_id="benchmark")))
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]

    async def close(self) -> None:
        self._call.cancel()
        for task in self._tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._channel.close()

    async def play(self, items: Sequence[Item]) -> Recording:
        """Send the items as they arrive, and wait until all have ended. Raises RuntimeError when one fails."""
        self._runs += 1
        submits = [_submit(f"{self._runs}-{number}", item) for number, item in enumerate(items)]
        answers = [Answer(len(item.prompt), item.output) for item in items]
        self._answers = {submit.request_id: answer for submit, answer in zip(submits, answers, strict=True)}
        self._left = len(items)
        self._ended.clear()
        self._recording = Recording(answers, time.perf_counter())
        await self._send_all(items, submits)
        ended = asyncio.create_task(self._ended.wait())
        await asyncio.wait([ended, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            ended.cancel()
            raise RuntimeError(f"the stream ended: {await self._call.code()} {await self._call.details()}")
        self._recording.check()
        return self._recording

    async def _send_all(self, items: Sequence[Item], submits: Sequence[pb.Submit]) -> None:
        for item, submit in zip(items, submits, strict=True):
            due = self._recording.began + item.arrival
            if (delay := due - time.perf_counter()) > 0:
                await asyncio.sleep(delay)
            self._answers[submit.request_id].asked = due
            self._waiting.append(submit)
            self._news.set()

    async def _write(self) -> None:
        """The only one that writes: submits as far as the credits go, and what then waits."""
        while True:
            await self._news.wait()
            self._news.clear()
            count = min(self._credits, len(self._waiting))
            submits = [self._waiting.popleft() for _ in range(count)]
            self._credits -= count
            head = pb.Head(waiting=len(self._waiting), band=pb.BAND_DEFAULT)
            await self._call.write(pb.GatewayFrame(submits=submits, head=head))

    async def _read(self) -> None:
        async for frame in self._call:
            now = time.perf_counter()
            if frame.credits:
                self._credits += frame.credits
                self._news.set()
            if frame.deltas:
                self._take(frame, now)

    def _take(self, frame: pb.EngineFrame, now: float) -> None:
        most = 0
        for delta in frame.deltas:
            answer = self._answers[delta.request_id]
            if count := len(delta.token_ids):
                answer.times.append(now)
                answer.counts.append(count)
                most = max(most, count)
            if delta.finish_reason:
                answer.ended = now
                answer.failure = delta.error.message
                answer.cached = delta.usage.cached_tokens
                self._left -= 1
        if most:
            load = frame.load
            self._recording.frames.append(Frame(now, most, load.running, load.free_blocks, load.total_blocks))
        if not self._left:
            self._ended.set()


def _submit(request_id: str, item: Item) -> pb.Submit:
    sampling = pb.SamplingParams(
        max_tokens=item.output, temperature=0.0, top_p=1.0, repetition_penalty=1.0, ignore_eos=True
    )
    if item.speculation is not None:
        sampling.speculation = item.speculation
    if item.schema:
        sampling.constraint.json_schema = item.schema
    return pb.Submit(
        request_id=request_id,
        cache_namespace=b"n" * 32,
        adapter_digest=item.adapter or "",
        band=pb.BAND_DEFAULT,
        prompt_token_ids=item.prompt,
        sampling=sampling,
    )
