"""A gateway worker without its HTTP face: queue, shared counters, turns and dispatcher before real engines, and clients
that keep so many requests of a tenant in flight.

usage: python -m benchmarks.gateway.queue_worker '{"engine": "host:port", "redis": "redis://…", "token": "…",
                                                   "clients": [{"tenant": "a", "in_flight": 5}]}'

Prints "ready", floods until its standard input ends, then prints the first-token times of each tenant.
"""

import asyncio
import json
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvloop
from prometheus_client import Gauge

from chorus_gateway import redis_url
from chorus_gateway.engine_client.client import EngineClient, Events
from chorus_gateway.errors import GatewayError
from chorus_gateway.queue.fair import FairQueue, QueueRules
from chorus_gateway.queue.sharing import RedisLedger, Sharing
from chorus_gateway.routing.claims import Claims, RedisClaims
from chorus_gateway.routing.demand import Demand
from chorus_gateway.routing.dispatcher import Dispatcher, DispatchLimits
from chorus_gateway.routing.pool import EnginePool
from chorus_gateway.routing.promises import Promises
from chorus_gateway.routing.registry import NoRegistry
from chorus_gateway.routing.turns import Patience, Turns
from chorus_gateway.routing.view import View
from chorus_gateway.telemetry import Metrics
from chorus_gateway.values import Band, BaseModel, Delta, Job, ResolvedModel, Sampling, Tenant

_REDIS_TIMEOUT = 0.1


@dataclass(frozen=True, slots=True)
class Client:
    """One tenant's at one worker."""

    tenant: str
    in_flight: int
    weight: float = 1.0
    band: str = "default"
    prompt: int = 8  # tokens
    max_tokens: int = 64
    pause: float = 0.0  # seconds between an answer and the next request

    def job(self, base: BaseModel) -> Job:
        return Job(
            uuid.uuid4().hex,
            Tenant(self.tenant, weight=self.weight),
            ResolvedModel(base.name, base, namespace=bytes(32)),
            (1,) * self.prompt,
            Sampling(self.max_tokens, ignore_eos=True),
            Band[self.band.upper()],
        )


@dataclass(slots=True)
class Worker:
    queue: FairQueue
    pool: EnginePool
    dispatcher: Dispatcher
    sharing: Sharing
    clock: Callable[[], float]
    first_tokens: dict[str, list[float]] = field(default_factory=dict)  # times on the clock, by tenant
    open: bool = True  # whether clients go on

    @property
    def base(self) -> BaseModel:
        return self.pool.all()[0]

    async def connected(self) -> None:
        while not self.pool.all():  # noqa: ASYNC110 - once in a process's life
            await asyncio.sleep(0.01)

    def flood(self, clients: Sequence[Client]) -> None:
        for client in clients:
            for _ in range(client.in_flight):
                self.ask(client)

    def ask(self, client: Client) -> None:
        if self.open:
            self.dispatcher.submit(client.job(self.base), Asking(self, client, self.clock()))


@dataclass(slots=True)
class Asking:
    """The sink of one request: when it ends, the next one is sent."""

    worker: Worker
    client: Client
    began: float
    heard: bool = False

    def dispatched(self) -> str:
        return ""

    def delta(self, delta: Delta) -> bool:
        if not self.heard and delta.token_ids:
            self.heard = True
            times = self.worker.first_tokens.setdefault(self.client.tenant, [])
            times.append(self.worker.clock() - self.began)
        if delta.finish is not None:
            asyncio.get_running_loop().call_later(self.client.pause, self.worker.ask, self.client)
        return True

    def failed(self, error: GatewayError) -> None:
        asyncio.get_running_loop().call_later(0.01, self.worker.ask, self.client)


@asynccontextmanager
async def running_worker(
    engine: str,
    redis_at: str,
    token: str,
    *,
    rules: QueueRules | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Worker]:
    """Connected to the engine at an address."""
    worker_id, metrics = uuid.uuid4().hex, Metrics()
    redis = redis_url.connect(redis_at, _REDIS_TIMEOUT)

    def connect(address: str, events: Events) -> EngineClient:
        return EngineClient(address, service_token=token, worker_id=worker_id, created=1, events=events)

    pool = EnginePool(NoRegistry(), connect, addresses=[engine])
    queue = FairQueue(max_jobs=10_000, max_bytes=1 << 30, rules=rules or QueueRules())
    promises, demand = Promises(), Demand()

    def look(model: str) -> View:
        return View(pool.members(model), promises)

    claims = Claims(RedisClaims(redis), look, promises, metrics.adapter_claims_total, timeout=_REDIS_TIMEOUT)
    turns = Turns(queue, look, promises, Patience())
    dispatcher = Dispatcher(
        queue, pool, turns, claims, demand, metrics.adapter_requests_total, DispatchLimits(max_wait=3600.0)
    )
    degraded = Gauge("fairness_degraded", "", registry=None)
    sharing = Sharing(queue, RedisLedger(redis, worker_id), changed=dispatcher.reorder, degraded=degraded)
    tasks = [asyncio.create_task(work) for work in (pool.run(), dispatcher.run(), sharing.run())]
    worker = Worker(queue, pool, dispatcher, sharing, clock)
    try:
        await worker.connected()
        yield worker
    finally:
        worker.open = False
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await redis.aclose()


async def serve(engine: str, redis: str, token: str, clients: Sequence[dict[str, Any]]) -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with running_worker(engine, redis, token) as worker:
        print("ready", flush=True)
        await lines.readline()
        worker.flood([Client(**each) for each in clients])
        await lines.read()
        worker.queue.check()
        print(json.dumps(worker.first_tokens), flush=True)


if __name__ == "__main__":
    uvloop.run(serve(**json.loads(sys.argv[1])))
