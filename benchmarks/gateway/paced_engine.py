"""An engine whose capacity is the bottleneck: real sessions, credits and seats over real gRPC, and no model. Every step
gives each of its rows some tokens.

usage: python -m benchmarks.gateway.paced_engine '{"rows": 16, "step": 0.01, "token": "…", "folder": "…"}'

Prints its port, and for each line on its standard input the tokens that each tenant has had. Ends with its input.
"""

import asyncio
import json
import sys
from bisect import insort
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import uvloop

from chorus_engine.core.load import Load
from chorus_engine.core.request import FinishReason, Output, Request, SampledToken, Timing, Usage
from chorus_engine.core.spec import ModelSpec
from chorus_engine.rpc import (
    STANDING,
    CreditLedger,
    Description,
    EngineService,
    Limits,
    SeatPlan,
    Seats,
    Sessions,
    TokenizerBundle,
    create_server,
    read_bundle,
)

NAME, DIGEST = "chorus-demo", "b" * 64
CONTEXT, VOCABULARY = 8192, 384
_LETTER = 32  # a token that every tokenizer of bytes has


@dataclass(frozen=True, slots=True)
class Pace:
    rows: int = 16
    step: float = 0.01  # seconds
    together: int = 1  # tokens a row and step
    priority_share: float = 0.125
    kept: int = 1


@dataclass(eq=False, slots=True)
class Row:
    request: Request
    produced: int = 0

    @property
    def order(self) -> tuple[int, float, float]:
        return self.request.band, self.request.counter, self.request.arrival


@dataclass(slots=True)
class PacedEngine:
    """Rows go to the lowest (band, counter) that waits, as in the scheduler."""

    pace: Pace
    tokens: dict[str, int] = field(default_factory=dict)  # by tenant
    steps: int = 0
    _running: dict[str, Row] = field(default_factory=dict)
    _waiting: list[Row] = field(default_factory=list)
    _ended: list[Output] = field(default_factory=list)

    def submit(self, request: Request) -> None:
        insort(self._waiting, Row(request), key=lambda row: row.order)

    def cancel(self, request_id: str) -> None:
        rows = [row for row in self._waiting if row.request.id == request_id]
        for row in rows:
            self._waiting.remove(row)
        running = self._running.pop(request_id, None)
        for row in rows if running is None else (running,):
            self._ended.append(self._end(row, FinishReason.CANCELLED))

    def step(self) -> tuple[Output, ...]:
        self.steps += 1
        while self._waiting and len(self._running) < self.pace.rows:
            row = self._waiting.pop(0)
            self._running[row.request.id] = row
        outputs, self._ended = self._ended, []
        for row in list(self._running.values()):
            outputs.append(self._advance(row))
            if outputs[-1].finish is not None:
                del self._running[row.request.id]
        return tuple(outputs)

    def load(self) -> Load:
        return Load(len(self._running), len(self._waiting), False, 1000, 1000, 0, 0, 0)

    def _advance(self, row: Row) -> Output:
        left = row.request.sampling.max_tokens - row.produced
        count = min(left, self.pace.together)
        row.produced += count
        tenant = row.request.tenant
        self.tokens[tenant] = self.tokens.get(tenant, 0) + count
        tokens = (SampledToken(_LETTER),) * count
        if count == left:
            return self._end(row, FinishReason.LENGTH, tokens)
        return Output(row.request.id, tokens)

    @staticmethod
    def _end(row: Row, finish: FinishReason, tokens: tuple[SampledToken, ...] = ()) -> Output:
        prompt = len(row.request.prompt)
        usage = Usage(prompt, row.produced, 0, prompt + row.produced)
        return Output(row.request.id, tokens, finish, usage=usage, timing=Timing())


@contextmanager
def stepping(engine: PacedEngine, sessions: Sessions) -> Iterator[None]:
    """Steps are due at fixed times; what is late is not made up for."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + engine.pace.step, loop.time())
            await asyncio.sleep(due - loop.time())
            if outputs := engine.step():
                sessions.deliver(outputs, engine.load())

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        task.cancel()


def make(pace: Pace, bundle: TokenizerBundle, token: str) -> tuple[PacedEngine, Sessions, grpc.aio.Server, int]:
    """With its server, not started, and the server's port."""
    engine = PacedEngine(pace)
    seats = Seats(SeatPlan.of(pace.rows, priority_share=pace.priority_share, kept=pace.kept))
    credits = CreditLedger(seats, standing=STANDING)
    sessions = Sessions(engine, Limits(CONTEXT, VOCABULARY, (0,)), credits, finished=lambda request, output: None)
    spec = ModelSpec(NAME, DIGEST, "LlamaForCausalLM", "float32", 1, 8, VOCABULARY, (), CONTEXT, (0,))
    service = EngineService(Description("paced", spec, CONTEXT, pace.rows, 16), bundle, sessions)
    server, port = create_server(service, address="127.0.0.1:0", token=token)
    return engine, sessions, server, port


async def serve(arguments: dict[str, Any]) -> None:
    token, folder = arguments.pop("token"), Path(arguments.pop("folder"))
    engine, sessions, server, port = make(Pace(**arguments), read_bundle(folder), token)
    await server.start()
    print(port, flush=True)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    with stepping(engine, sessions):
        while await lines.readline():
            print(json.dumps(engine.tokens), flush=True)
    await server.stop(None)


if __name__ == "__main__":
    uvloop.run(serve(json.loads(sys.argv[1])))
