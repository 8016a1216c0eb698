"""An engine that only remembers, and a service around it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from chorus_engine.core.load import Load
from chorus_engine.core.request import Output, Request
from chorus_engine.core.spec import ModelSpec
from chorus_engine.rpc import (
    CreditLedger,
    Description,
    EngineService,
    Limits,
    SeatPlan,
    Seats,
    Sessions,
    create_server,
    read_bundle,
)
from tests.contracts.engine.support.process import TOKEN

LIMITS = Limits(max_model_len=100, vocab_size=50, eos_token_ids=(2,))
SPEC = ModelSpec("tiny", "0" * 64, "LlamaForCausalLM", "float32", 1, 8, 50, (), 100, (2,))
IDLE = Load(0, 0, False, 10, 10, 0, 0, 0)
BUSY = Load(1, 0, False, 5, 10, 0, 0, 0)


@dataclass
class EngineFake:
    submitted: list[Request] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)

    def submit(self, request: Request) -> None:
        self.submitted.append(request)

    def cancel(self, request_id: str) -> None:
        self.cancelled.append(request_id)


class Bench:
    """Sessions over a fake engine."""

    def __init__(self, credits: int = 4, outbox_bytes: int = 1 << 20, standing: int = 0) -> None:
        self.engine = EngineFake()
        self.ended: list[tuple[Request, Output]] = []
        self.now = 100.0
        self.sessions = Sessions(
            self.engine,
            LIMITS,
            CreditLedger(Seats(SeatPlan(credits, credits)), standing=standing),
            finished=lambda request, output: self.ended.append((request, output)),
            outbox_bytes=outbox_bytes,
            clock=lambda: self.now,
        )


def make_service(sessions: Sessions, folder: Path) -> EngineService:
    return EngineService(Description("e1", SPEC, 100, 4, 16), read_bundle(folder), sessions)


@asynccontextmanager
async def serve(sessions: Sessions, folder: Path) -> AsyncIterator[str]:
    """The address of a real server around `sessions`, with the tokenizer in `folder`."""
    server, port = create_server(make_service(sessions, folder), address="127.0.0.1:0", token=TOKEN)
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)
