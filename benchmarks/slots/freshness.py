"""How soon a published adapter can be used on every engine, and how true a router's knowledge of residency is."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import grpc.aio

from benchmarks.figures import Figure
from benchmarks.gpu.client import Client as EngineClient
from benchmarks.workloads import Item
from chorus_proto.engine.v1 import engine_pb2 as pb
from chorus_proto.engine.v1.engine_pb2_grpc import EngineStub

PROMPT = tuple(range(40, 56))
USABLE_WITHIN, TRUE_WITHIN = 1.0, 0.2  # seconds


class Router:
    """What a gateway would know of one engine, from a session of its own that asks for nothing."""

    def __init__(self, address: str, token: str) -> None:
        self._channel = grpc.aio.insecure_channel(address)
        stub: Any = EngineStub(self._channel)
        self._call = stub.Session(metadata=(("authorization", f"Bearer {token}"),))
        self.ready: dict[str, float] = {}  # digest -> when it was first said to be in a slot

    async def __aenter__(self) -> "Router":
        await self._call.write(pb.GatewayFrame(hello=pb.Hello(worker_id="router")))
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._call.cancel()
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self._channel.close()

    async def _read(self) -> None:
        async for frame in self._call:
            now = time.perf_counter()
            for held in frame.residency.held:
                if held.tier == pb.TIER_GPU:
                    self.ready.setdefault(held.digest, now)


async def measure(
    addresses: Sequence[str],
    token: str,
    publish: Callable[[int], Awaitable[str]],
    rounds: int,
    note: Callable[[str], None],
) -> list[Figure]:
    """`publish(n)` uploads adapter n and gives its digest once the store has answered."""
    usable, late = [], []
    async with AsyncExitStack() as stack:
        clients = [EngineClient(address, token) for address in addresses]
        for client in clients:
            await client.open()
            stack.push_async_callback(client.close)
        routers = [await stack.enter_async_context(Router(address, token)) for address in addresses]
        for number in range(rounds):
            note(f"round {number + 1} of {rounds}")
            digest = await publish(number)
            answered = time.perf_counter()
            runs = await asyncio.gather(*(client.play([Item(PROMPT, 2, digest)]) for client in clients))
            first = [run.answers[0].times[0] for run in runs]
            usable.append(max(first) - answered)
            await asyncio.sleep(2 * TRUE_WITHIN)
            late += [router.ready.get(digest, float("inf")) - time for router, time in zip(routers, first, strict=True)]
    return [
        Figure("from publication to a token of every engine", max(usable), "s", USABLE_WITHIN, detail={"all": usable}),
        Figure("a router's residency behind the slot's first token", max(late), "s", TRUE_WITHIN, detail={"all": late}),
    ]
