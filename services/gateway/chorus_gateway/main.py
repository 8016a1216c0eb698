"""Reads the settings, composes the parts, serves until told to end. Nothing is composed anywhere else."""

import logging
import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

import grpc
from fastapi import APIRouter
from pydantic import SecretStr
from redis.asyncio import Redis

from chorus_gateway import redis_url
from chorus_gateway.adapters import AdapterClient
from chorus_gateway.api.admin_usage import usage_routers
from chorus_gateway.api.batches import batches_router
from chorus_gateway.api.chat import chat_router
from chorus_gateway.api.completions import completions_router
from chorus_gateway.api.dependencies import Parts
from chorus_gateway.api.embeddings import embeddings_router
from chorus_gateway.api.files import files_router
from chorus_gateway.api.health import Readiness
from chorus_gateway.api.line_app import create_line_app
from chorus_gateway.api.models import models_router
from chorus_gateway.api.responses import responses_router
from chorus_gateway.api.tokenize import tokenize_router
from chorus_gateway.app import BodyLimits, create_app
from chorus_gateway.audit import AuditLog
from chorus_gateway.auth import Authenticator, AuthEvents, LastUsed, TrustedProxies, parse_key
from chorus_gateway.batches import Asker, BatchStore, BatchWork, KeysOfBatches, LineRules, Stores
from chorus_gateway.config import Settings, load_settings
from chorus_gateway.credentials import open_channel, read_credentials
from chorus_gateway.db import Database, connect, migrate
from chorus_gateway.engine_client.client import EngineClient, Events
from chorus_gateway.errors import StartError, Unavailable
from chorus_gateway.files import FileLimits, FileStore, Sweeper
from chorus_gateway.ledger import Books, Keeping
from chorus_gateway.live import LiveBoard, LiveReports
from chorus_gateway.models import Resolver
from chorus_gateway.models.events import follow_adapters
from chorus_gateway.pipeline import Pipeline, PipelineLimits
from chorus_gateway.prices import Prices
from chorus_gateway.process import Gateway, refuse, run
from chorus_gateway.queue.fair import FairQueue, QueueRules
from chorus_gateway.queue.sharing import RedisLedger, Sharing
from chorus_gateway.quota import DegradingQuota, MemoryQuota, RedisQuota, SettlesBehind
from chorus_gateway.routing.claims import Claims, RedisClaims
from chorus_gateway.routing.demand import Demand, DemandReports
from chorus_gateway.routing.dispatcher import Dispatcher, DispatchLimits
from chorus_gateway.routing.interventions import RedisInterventions
from chorus_gateway.routing.pool import EnginePool
from chorus_gateway.routing.promises import Promises
from chorus_gateway.routing.registry import RedisRegistry
from chorus_gateway.routing.turns import Patience, Turns
from chorus_gateway.routing.view import View
from chorus_gateway.telemetry import Metrics, Tracing
from chorus_gateway.telemetry.exposition import Exposition
from chorus_gateway.telemetry.logs import configure_logging
from chorus_gateway.tenants import AdapterLimits, KeyStore, TenantStore, Terms
from chorus_gateway.text.cache import TokenizerCache
from chorus_gateway.workers import Worker

TEXT_ROUTERS = (chat_router, completions_router, responses_router, embeddings_router)  # of a pipeline
BATCH_ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings")
REDIS_TIMEOUT = 0.1  # seconds; a request that waits longer for Redis goes on without it
REDIS_READ_TIMEOUT = 10.0  # of the connection that waits for events
STORE_OPTIONS = [
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),  # gRPC's own, a minute, would win over the keepalive's
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.max_receive_message_length", 64 << 20),  # a page of adapters names all of their modules
]

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> None:
    try:
        settings = load_settings(sys.argv[1:] if arguments is None else arguments)
    except StartError as error:
        sys.exit(refuse(error))
    configure_logging(settings.log_level)
    sys.exit(run(settings, compose))


async def compose(settings: Settings, stack: AsyncExitStack, worker: Worker | None) -> Gateway:
    """Whatever has to be closed is left with `stack`."""
    metrics, tracing = Metrics(), _tracing(settings, stack)
    exposition = _exposition(metrics, worker)
    credentials = read_credentials(settings.tls_ca)
    database = await _database(settings, stack)
    keys = await _keys(settings, database)
    redis = _redis(settings.redis_url, REDIS_TIMEOUT, stack)
    events = _redis(settings.redis_url, REDIS_READ_TIMEOUT, stack)
    adapters = _adapters(settings, credentials, stack)
    interventions = RedisInterventions(redis, uuid.uuid4().hex)
    worker_id = uuid.uuid4().hex
    engines = _engines(settings, credentials, RedisRegistry(redis), interventions, metrics, worker_id)
    books = _books(settings, worker_id, database, engines, metrics, stack)
    last_used = LastUsed(keys)
    authenticator = _authenticator(settings, keys, last_used)
    prices, adapter_limits = Prices(database), AdapterLimits(database)
    terms = Terms(prices, adapter_limits, cache_ttl=settings.auth_cache_ttl)
    secret = _bytes(settings.namespace_secret)
    resolver = Resolver(engines, adapters, namespace_secret=secret, cache_ttl=settings.model_cache_ttl)
    quota = RedisQuota(redis, books.spent)
    books.tell(quota.doubt)
    stack.push_async_callback(quota.aclose)
    settling = SettlesBehind(DegradingQuota(quota, MemoryQuota(), metrics.quota_degraded))
    stack.push_async_callback(settling.aclose)
    routing = _routing(settings, engines, redis, metrics, stack)
    dispatcher = routing.dispatcher
    tokenizers = TokenizerCache(engines.fetch_tokenizer, settings.tool_format)
    build_pipeline = partial(
        Pipeline,
        models=resolver,
        terms=terms,
        tokenizers=tokenizers,
        quota=settling,
        ledger=books.ledger,
        claims=routing.claims,
        dispatcher=dispatcher,
        metrics=metrics,
        tracing=tracing,
        limits=PipelineLimits(request_timeout=settings.request_timeout),
    )
    pipeline = build_pipeline(auth=authenticator)
    # Lines of batches take the same way, and are asked by their batch's key.
    of_batches = build_pipeline(auth=KeysOfBatches(keys, cache_ttl=settings.auth_cache_ttl))
    files = FileStore(
        database, FileLimits(settings.max_file_bytes, settings.max_tenant_file_bytes, settings.max_tenant_files)
    )
    work = _batch_work(settings, database, files, [make(of_batches) for make in TEXT_ROUTERS], metrics)
    live = LiveReports(dispatcher.census, metrics.tenant_tokens, redis)
    parts = Parts(
        authenticator=authenticator,
        auth_events=AuthEvents(redis, authenticator, terms),
        tenants=TenantStore(database),
        keys=keys,
        adapter_limits=adapter_limits,
        prices=prices,
        proxies=TrustedProxies(settings.proxies),
        audit=AuditLog(database),
        adapters=adapters,
        resolver=resolver,
        live=LiveBoard(redis, live, engines.known),
        readiness=Readiness(database.ping, engines),
        interventions=interventions,
        metrics=metrics,
        exposition=exposition,
        tracing=tracing,
    )
    routers = (
        *(make(pipeline) for make in TEXT_ROUTERS),
        *usage_routers(books.reports),
        models_router(authenticator, resolver),
        tokenize_router(authenticator, resolver, tokenizers, settling),
        files_router(authenticator, files),
        batches_router(authenticator, BatchStore(database), BATCH_ENDPOINTS, work.wake),
    )
    background = (
        parts.auth_events.listen(),
        last_used.run(),
        follow_adapters(events, resolver),
        quota.keep_leases(),
        engines.run(),
        dispatcher.run(),
        routing.reports.run(),
        routing.sharing.run(),
        *books.background(),
        live.run(),
        exposition.run(),
        Sweeper(database).run(),
        *([work.run()] if settings.batch_concurrency else []),
    )
    app = create_app(parts, _body_limits(settings), routers)
    return Gateway(
        app, background, engines.ready, lambda: _drain(parts.readiness, dispatcher, books, settings.shutdown_grace)
    )


def _body_limits(settings: Settings) -> BodyLimits:
    return BodyLimits(settings.max_body_bytes, settings.max_upload_bytes, settings.max_file_bytes)


def _batch_work(
    settings: Settings, database: Database, files: FileStore, routers: Sequence[APIRouter], metrics: Metrics
) -> BatchWork:
    """`routers` are those that lines may ask."""
    stores = Stores.of(database, files, lease_seconds=settings.batch_lease)
    rules = LineRules(max(1, settings.batch_concurrency), settings.max_body_bytes)
    return BatchWork(stores, Asker(create_line_app(routers)), rules, metrics.batch_lines_total)


def _exposition(metrics: Metrics, worker: Worker | None) -> Exposition:
    if worker is None:
        return Exposition(metrics)
    metrics.gateway_worker_starts.set(worker.starts)
    return Exposition(metrics, worker.folder, worker.index, worker.count)


def _bytes(secret: SecretStr) -> bytes:
    return secret.get_secret_value().encode()


def _tracing(settings: Settings, stack: AsyncExitStack) -> Tracing:
    tracing = Tracing.exporting(settings.otlp_protocol) if settings.otlp_endpoint else Tracing()
    stack.callback(tracing.shutdown)
    return tracing


async def _database(settings: Settings, stack: AsyncExitStack) -> Database:
    database = connect(settings.gateway_database_url)
    stack.push_async_callback(database.close)
    await migrate(database)
    return database


async def _keys(settings: Settings, database: Database) -> KeyStore:
    keys = KeyStore(database, pepper=_bytes(settings.key_pepper))
    if settings.admin_key is not None:
        key = parse_key(settings.admin_key.get_secret_value())
        assert key is not None  # the settings were checked
        info = await keys.ensure_admin(key)
        if info.revoked_at is not None:
            log.warning("CHORUS_ADMIN_KEY was revoked and stays so; set another one", extra={"key_id": key.id})
    return keys


def _authenticator(settings: Settings, keys: KeyStore, last_used: LastUsed) -> Authenticator:
    pepper, previous, ttl = _bytes(settings.key_pepper), settings.key_pepper_previous, settings.auth_cache_ttl
    before = () if previous is None else (_bytes(previous),)
    return Authenticator(keys, pepper=pepper, cache_ttl=ttl, previous_peppers=before, last_used=last_used)


def _redis(url: str, timeout: float, stack: AsyncExitStack) -> Redis:
    redis = redis_url.connect(url, timeout)
    stack.push_async_callback(redis.aclose)
    return redis


def _adapters(settings: Settings, credentials: grpc.ChannelCredentials | None, stack: AsyncExitStack) -> AdapterClient:
    channel = open_channel(settings.store_address, credentials, STORE_OPTIONS)
    stack.push_async_callback(channel.close)
    return AdapterClient(channel, token=settings.service_token.get_secret_value())


def _engines(
    settings: Settings,
    credentials: grpc.ChannelCredentials | None,
    registry: RedisRegistry,
    interventions: RedisInterventions,
    metrics: Metrics,
    worker_id: str,
) -> EnginePool:
    started = int(time.time())
    token = settings.service_token.get_secret_value()

    def connect_engine(address: str, events: Events) -> EngineClient:
        return EngineClient(
            address,
            service_token=token,
            worker_id=worker_id,
            created=started,
            events=events,
            credentials=credentials,
        )

    pool = EnginePool(
        registry,
        connect_engine,
        addresses=settings.static_engines,
        silence=settings.engine_silence,
        interventions=interventions,
        ejections=metrics.engine_ejections_total,
    )
    metrics.engines_ejected.set_function(lambda: sum(member.health.ejected for member in pool.known()))
    return pool


def _books(
    settings: Settings,
    worker_id: str,
    database: Database,
    engines: EnginePool,
    metrics: Metrics,
    stack: AsyncExitStack,
) -> Books:
    keeping = Keeping(settings.journal_dir, sync=settings.journal_sync, retention=settings.usage_retention)
    books = Books(keeping, worker_id, database, engines, metrics)
    stack.push_async_callback(books.close)
    return books


@dataclass(frozen=True, slots=True)
class Routing:
    claims: Claims
    dispatcher: Dispatcher
    reports: DemandReports
    sharing: Sharing


def _routing(settings: Settings, engines: EnginePool, redis: Redis, metrics: Metrics, stack: AsyncExitStack) -> Routing:
    promises, demand = Promises(), Demand()
    book, ledger = RedisClaims(redis), RedisLedger(redis, uuid.uuid4().hex)
    for each in (book, ledger):
        stack.push_async_callback(each.aclose)

    def look(model: str) -> View:
        return View(engines.members(model), promises)

    rules = QueueRules(settings.band_patience, shortest_first=settings.queue_order == "shortest")
    queue = FairQueue(max_jobs=settings.max_queue, max_bytes=settings.max_queue_bytes, rules=rules)
    turns = Turns(queue, look, promises, Patience(settings.adapter_patience), deficit=settings.locality_deficit)
    claims = Claims(book, look, promises, metrics.adapter_claims_total, timeout=REDIS_TIMEOUT)
    sent, limits = metrics.adapter_requests_total, DispatchLimits(max_wait=settings.max_queue_wait)
    dispatcher = Dispatcher(queue, engines, turns, claims, demand, sent, limits)
    sharing = Sharing(queue, ledger, changed=dispatcher.reorder, degraded=metrics.fairness_degraded)
    metrics.num_requests_waiting.set_function(lambda: dispatcher.waiting)
    metrics.num_requests_running.set_function(lambda: dispatcher.running)
    return Routing(claims, dispatcher, DemandReports(demand, redis), sharing)


async def _drain(readiness: Readiness, dispatcher: Dispatcher, books: Books, grace: float) -> None:
    """Running requests go on for `grace` seconds; what is left then ends with an error that its client can read. All of
    them are in the ledger at the end."""
    readiness.draining = True
    log.info("draining", extra={"running": dispatcher.running, "waiting": dispatcher.waiting})
    await dispatcher.drain(grace, Unavailable("The gateway is shutting down: try again in a moment."))
    await books.finish()
