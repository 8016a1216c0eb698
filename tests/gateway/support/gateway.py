"""The request path over real gRPC to fake engines, behind the real HTTP application."""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from opentelemetry.trace import TracerProvider
from starlette.routing import BaseRoute

from chorus_gateway.api.chat import chat_router
from chorus_gateway.api.completions import completions_router
from chorus_gateway.api.embeddings import embeddings_router
from chorus_gateway.api.errors import install_error_handlers
from chorus_gateway.api.models import models_router
from chorus_gateway.api.responses import responses_router
from chorus_gateway.api.tokenize import tokenize_router
from chorus_gateway.engine_client.client import EngineClient, Events
from chorus_gateway.errors import ModelNotFound, Unauthenticated
from chorus_gateway.http1 import Http1
from chorus_gateway.ledger.journal import Journal
from chorus_gateway.ledger.ledger import Ledger
from chorus_gateway.ledger.orphans import Orphans
from chorus_gateway.middleware import CatchFailures, RequestId
from chorus_gateway.models import ModelCard
from chorus_gateway.pipeline import Pipeline, PipelineLimits, TermsOf
from chorus_gateway.queue.fair import FairQueue
from chorus_gateway.quota import MemoryQuota
from chorus_gateway.quota.base import Reservation, Used, Wanted
from chorus_gateway.routing.claims import ClaimBook, Claims
from chorus_gateway.routing.demand import Demand
from chorus_gateway.routing.dispatcher import Dispatcher, DispatchLimits
from chorus_gateway.routing.pool import EnginePool
from chorus_gateway.routing.promises import Promises
from chorus_gateway.routing.registry import NoRegistry, Registry
from chorus_gateway.routing.turns import Patience, Turns
from chorus_gateway.routing.view import View
from chorus_gateway.telemetry import Metrics, Tracing
from chorus_gateway.tenants.terms import ModelTerms
from chorus_gateway.text.cache import TokenizerCache
from chorus_gateway.values import Principal, ResolvedModel, Scope, Tenant
from tests.gateway.support.claims import HeldClaims
from tests.gateway.support.fake_engine import TOKEN, FakeEngine

KEY = "test-key"
ADAPTERS = {"chorus-demo@shout": "a" * 64}


class KnownKeys:
    """Authenticates any of the tenants given, by "Bearer <key>"."""

    def __init__(self) -> None:
        self.principals = {KEY: Principal("k1", frozenset({Scope.INFER}), Tenant("acme"))}

    async def authenticate(self, authorization: str | None, scope: Scope, client: str | None = None) -> Principal:
        principal = self.principals.get((authorization or "").removeprefix("Bearer "))
        if principal is None:
            raise Unauthenticated("The API key is unknown: check it.", code="invalid_api_key")
        return principal


class KnownModels:
    """The pool's base models, and ADAPTERS to begin with."""

    def __init__(self, pool: EnginePool) -> None:
        self._pool = pool
        self.adapters = dict(ADAPTERS)
        self.choosers: list[str] = []

    async def resolve(
        self, tenant: Tenant, name: str, chooser: str = "", allowed: frozenset[str] | None = None
    ) -> ResolvedModel:
        self.choosers.append(chooser)
        base = self._pool.get(name.partition("@")[0])
        if base is None or ("@" in name and name not in self.adapters):
            raise ModelNotFound(f"The model '{name}' does not exist.", param="model", code="model_not_found")
        return ResolvedModel(name, base, self.adapters.get(name), bytes(32))

    async def list(self, tenant: Tenant, allowed: frozenset[str] | None = None) -> tuple[ModelCard, ...]:
        bases = [ModelCard(base.name, base.created, "chorus") for base in self._pool.all()]
        return (*bases, *(ModelCard(name, 1, tenant.id, "chorus-demo") for name in self.adapters))


class FreeTerms:
    """Everything costs the same, by default nothing."""

    def __init__(self, terms: ModelTerms | None = None) -> None:
        self.terms = terms or ModelTerms()

    async def of(self, tenant_id: str, model: ResolvedModel) -> ModelTerms:
        return self.terms


class RecordingQuota(MemoryQuota):
    """Remembers what was settled."""

    def __init__(self) -> None:
        super().__init__()
        self.reserved: list[int] = []
        self.settled: list[int] = []
        self.wanted: list[Wanted] = []
        self.costs: list[int] = []

    async def reserve(self, wanted: Wanted) -> Reservation:
        reservation = await super().reserve(wanted)
        self.reserved.append(wanted.tokens)
        self.wanted.append(wanted)
        return replace(reservation, headers=reservation.headers or {"x-ratelimit-limit-requests": "7"})

    async def settle(self, reservation: Reservation, used: Used) -> None:
        await asyncio.sleep(0)  # as Redis would, so that a cancellation could come in between
        await super().settle(reservation, used)
        self.settled.append(used.tokens)
        self.costs.append(used.cost)


@dataclass
class Gateway:
    app: FastAPI
    pool: EnginePool
    dispatcher: Dispatcher
    pipeline: Pipeline
    queue: FairQueue
    quota: RecordingQuota
    keys: KnownKeys
    metrics: Metrics
    models: KnownModels
    demand: Demand
    ledger: Ledger
    routes: list[BaseRoute]

    async def settles(self) -> None:
        """Everything that was reserved has been settled, and nothing is left anywhere."""
        await eventually(lambda: len(self.quota.settled) == len(self.quota.reserved))
        await eventually(lambda: not self.dispatcher.running and not self.dispatcher.waiting)
        await eventually(lambda: all(entry.tally.closing and entry.tally.settled for entry in self.ledger.entries))
        self.queue.check()
        assert not any(counters.prepaid for counters in self.queue.counters.values())
        assert self.demand.in_flight == 0


@dataclass(frozen=True)
class GatewaySettings:
    limits: PipelineLimits = field(default_factory=PipelineLimits)
    dispatch: DispatchLimits = field(default_factory=lambda: DispatchLimits(retry_delay=0.01))
    patience: Patience = field(default_factory=lambda: Patience(first=1.0, last=3.0))  # the machine may be busy
    claims: ClaimBook = field(default_factory=HeldClaims)
    registry: Registry = field(default_factory=NoRegistry)
    terms: TermsOf = field(default_factory=FreeTerms)
    max_jobs: int = 100
    tracer_provider: TracerProvider | None = None
    connected: bool = True  # wait until every engine is


@contextlib.asynccontextmanager
async def running_gateway(
    engines: Sequence[FakeEngine], settings: GatewaySettings | None = None
) -> AsyncIterator[Gateway]:
    settings = settings or GatewaySettings()

    def connect(address: str, events: Events) -> EngineClient:
        return EngineClient(address, service_token=TOKEN, worker_id="worker", created=1, events=events)

    addresses = [engine.address for engine in engines]
    pool = EnginePool(settings.registry, connect, addresses=addresses, poll_interval=0.05)
    queue = FairQueue(max_jobs=settings.max_jobs, max_bytes=1 << 20)
    quota, keys, metrics = RecordingQuota(), KnownKeys(), Metrics()
    promises, demand = Promises(), Demand()

    def look(model: str) -> View:
        return View(pool.members(model), promises)

    claims = Claims(settings.claims, look, promises, metrics.adapter_claims_total, timeout=2.0)
    turns = Turns(queue, look, promises, settings.patience)
    sent = metrics.adapter_requests_total
    dispatcher = Dispatcher(queue, pool, turns, claims, demand, sent, settings.dispatch)
    models = KnownModels(pool)
    folder = tempfile.TemporaryDirectory()
    ledger = Ledger(Journal(Path(folder.name), "worker"))
    tokenizers = TokenizerCache(pool.fetch_tokenizer)
    pipeline = Pipeline(
        auth=keys,
        models=models,
        terms=settings.terms,
        tokenizers=tokenizers,
        quota=quota,
        ledger=ledger,
        claims=claims,
        dispatcher=dispatcher,
        metrics=metrics,
        tracing=Tracing(settings.tracer_provider),
        limits=settings.limits,
    )
    app = FastAPI()
    app.add_middleware(CatchFailures)
    app.add_middleware(RequestId)
    install_error_handlers(app)
    asking = (
        chat_router(pipeline),
        completions_router(pipeline),
        responses_router(pipeline),
        embeddings_router(pipeline),
    )
    looking = (models_router(keys, models), tokenize_router(keys, models, tokenizers, quota))
    for router in (*asking, *looking):
        app.include_router(router)
    routes = [route for router in (*asking, *looking) for route in router.routes]
    orphans = Orphans(ledger, pool, "worker", metrics.usage_unknown_total, patience=0.2)
    tasks = [asyncio.create_task(work) for work in (pool.run(), dispatcher.run(), orphans.run())]
    try:
        if settings.connected:
            await eventually(lambda: bool(pool.states()) and all(state.connected for state in pool.states()))
        yield Gateway(app, pool, dispatcher, pipeline, queue, quota, keys, metrics, models, demand, ledger, routes)
    finally:
        folder.cleanup()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    """The application behind a real socket; yields its URL."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, http=Http1, log_level="warning", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve(None))
    try:
        await eventually(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


async def eventually(condition: Callable[[], bool], timeout: float = 60.0) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        await asyncio.sleep(0.005)
