"""Puts the store together, runs it until SIGTERM or SIGINT, and takes it apart in reverse."""

import asyncio
import faulthandler
import logging
import signal
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redis.asyncio import Redis

from chorus_adapter_store import redis_url
from chorus_adapter_store.base_models import BasePoller, EngineRegistry, GrpcDescriber
from chorus_adapter_store.blobs import Blobs, Damage, DiskBlobs, Eviction, MemoryBlobs
from chorus_adapter_store.blobs.s3 import S3Blobs
from chorus_adapter_store.catalog import (
    AliasCatalog,
    BaseCatalog,
    Catalog,
    Database,
    HistoryCatalog,
    LifecycleCatalog,
    PinCatalog,
    Retention,
    SharingCatalog,
)
from chorus_adapter_store.config import Settings, plain_environment
from chorus_adapter_store.errors import StartError, Unavailable
from chorus_adapter_store.events import RedisEvents
from chorus_adapter_store.imports import Imports, parse_buckets, parse_folder
from chorus_adapter_store.janitor import Janitor
from chorus_adapter_store.placement.assemble import make_placer
from chorus_adapter_store.placement.news import BLOCK_SECONDS
from chorus_adapter_store.placement.pinning import Pinning
from chorus_adapter_store.placement.placer import Placer
from chorus_adapter_store.placement.view import View
from chorus_adapter_store.rpc.credentials import Credentials, read_credentials
from chorus_adapter_store.rpc.server import RpcServer
from chorus_adapter_store.rpc.servicer import AdapterServicer
from chorus_adapter_store.rpc.status import Calls
from chorus_adapter_store.scrubber import Scrubber
from chorus_adapter_store.store import AdapterStore
from chorus_adapter_store.telemetry.http import MetricsServer
from chorus_adapter_store.telemetry.metrics import Metrics
from chorus_adapter_store.telemetry.tracing import Tracing
from chorus_adapter_store.validate import ProcessValidator

if TYPE_CHECKING:
    from chorus_adapter_store.blobs.bucket import Bucket

_POLL_SECONDS = 1.0
_GIB = 1 << 30
_MIB = 1 << 20
_CLOSE_SECONDS = 10.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Storage:
    """Where the bytes of adapters are, and come from."""

    durable: Blobs
    memory: MemoryBlobs  # before it
    damage: Damage
    imports: Imports


@dataclass(frozen=True, slots=True)
class _Resources:
    """What the store's parts share."""

    database: Database
    storage: _Storage
    validator: ProcessValidator
    redis: Redis


async def serve(settings: Settings) -> None:
    """Raises StartError."""
    stopping = _stop_signal()
    credentials = read_credentials(settings.tls_cert, settings.tls_key, settings.tls_ca)
    async with AsyncExitStack() as stack:
        metrics, tracing = Metrics(), Tracing(settings.otlp_endpoint, settings.otlp_protocol)
        stack.callback(tracing.close)
        resources = await _open(settings, metrics, stack)
        store, poller = _make_store(settings, resources, metrics), _make_poller(settings, resources, credentials)
        calls = Calls(metrics, tracing)
        pinning = Pinning(store.catalog, PinCatalog(resources.database), View(resources.redis))
        servicer = AdapterServicer(store, pinning, calls, metrics, idle_seconds=settings.store_upload_idle_timeout)
        ports = await _listen(settings, servicer, credentials, metrics, stack)
        works = [
            poller.run(_POLL_SECONDS),
            store.janitor.run(settings.store_sweep_interval),
            resources.validator.warm(),
        ]
        if settings.store_scrub_speed:
            works.append(_make_scrubber(settings, resources).run())
        if settings.placement == "on":
            works.append(_make_placer(settings, resources, metrics, stack).run())
        for work in works:
            stack.push_async_callback(_cancel, asyncio.create_task(work))
        with suppress(Unavailable):
            await store.count()
        _log.info("listening", extra={"host": settings.store_host, **ports})
        await stopping.wait()
        _log.info("stopping")
        # A part that does not close would keep the process and its port for ever: then it says where it hangs and goes.
        faulthandler.dump_traceback_later(settings.store_shutdown_grace + _CLOSE_SECONDS, exit=True)


async def _open(settings: Settings, metrics: Metrics, stack: AsyncExitStack) -> _Resources:
    """Closed by `stack`, in reverse."""
    database = await Database.open(settings.store_database_url)
    stack.push_async_callback(database.close)
    storage = _open_storage(settings, metrics, stack)
    validator = _make_validator(settings)
    stack.push_async_callback(validator.close)
    redis = redis_url.connect(settings.redis_url)
    stack.push_async_callback(redis.aclose)
    return _Resources(database, storage, validator, redis)


def _open_storage(settings: Settings, metrics: Metrics, stack: AsyncExitStack) -> _Storage:
    allowed = parse_buckets(settings.import_buckets)
    bucket = _open_bucket(settings, stack) if settings.blob_url or allowed else None
    durable = _open_blobs(settings, bucket)
    capacity = int(settings.store_memory * _GIB)
    memory = MemoryBlobs(durable, capacity, Eviction(settings.eviction_policy), metrics)
    stack.push_async_callback(memory.close)
    return _Storage(durable, memory, Damage(metrics), Imports(bucket, allowed, settings.import_timeout))


def _open_bucket(settings: Settings, stack: AsyncExitStack) -> "Bucket":
    from chorus_adapter_store.blobs.bucket import Bucket  # a third of a second that most stores need not spend

    bucket = Bucket(settings.s3_endpoint_url)
    stack.push_async_callback(bucket.close)
    return bucket


def _open_blobs(settings: Settings, bucket: "Bucket | None") -> Blobs:
    folder = settings.blob_dir
    try:
        if bucket is None or not settings.blob_url:
            return DiskBlobs(folder)
        return S3Blobs(bucket, parse_folder("CHORUS_BLOB_URL", settings.blob_url), folder)
    except OSError as error:
        raise StartError(f"cannot write to CHORUS_BLOB_DIR={str(folder)!r}: {error.strerror or error}") from None


def _make_validator(settings: Settings) -> ProcessValidator:
    return ProcessValidator(
        settings.limits(),
        parallel=settings.store_validations,
        memory=int(settings.store_validation_memory * _GIB),
        seconds=settings.store_validation_timeout,
        environment=plain_environment(),
    )


def _make_store(settings: Settings, resources: _Resources, metrics: Metrics) -> AdapterStore:
    database, limits = resources.database, settings.limits()
    return AdapterStore(
        catalog=Catalog(database),
        lifecycle=LifecycleCatalog(database),
        history=HistoryCatalog(database),
        aliases=AliasCatalog(database),
        sharing=SharingCatalog(database),
        bases=BaseCatalog(database),
        blobs=resources.storage.memory,
        damage=resources.storage.damage,
        validator=resources.validator,
        imports=resources.storage.imports,
        events=RedisEvents(resources.redis),
        janitor=_make_janitor(settings, resources),
        metrics=metrics,
        limits=limits,
    )


def _make_janitor(settings: Settings, resources: _Resources) -> Janitor:
    database = resources.database
    blobs = resources.storage.memory
    return Janitor(Retention(database), HistoryCatalog(database), blobs, grace=settings.store_delete_grace)


def _make_scrubber(settings: Settings, resources: _Resources) -> Scrubber:
    storage = resources.storage
    speed = settings.store_scrub_speed * _MIB
    return Scrubber(Retention(resources.database), storage.durable, storage.memory, storage.damage, speed=speed)


def _make_poller(settings: Settings, resources: _Resources, credentials: Credentials) -> BasePoller:
    describer = GrpcDescriber(settings.service_token.get_secret_value(), credentials.channel)
    return BasePoller(EngineRegistry(resources.redis), describer, BaseCatalog(resources.database))


def _make_placer(settings: Settings, resources: _Resources, metrics: Metrics, stack: AsyncExitStack) -> Placer:
    following = redis_url.connect(settings.redis_url, timeout=BLOCK_SECONDS + 1)
    stack.push_async_callback(following.aclose)
    return make_placer(resources.database, resources.redis, following, metrics)


async def _listen(
    settings: Settings, servicer: AdapterServicer, credentials: Credentials, metrics: Metrics, stack: AsyncExitStack
) -> dict[str, int]:
    http = MetricsServer(metrics.registry)
    try:
        metrics_port = await http.start(settings.store_host, settings.store_metrics_port)
    except OSError as error:
        raise StartError(
            f"cannot listen on {settings.store_host}:{settings.store_metrics_port} (CHORUS_STORE_METRICS_PORT): "
            f"{error.strerror or error}"
        ) from None
    stack.push_async_callback(http.stop)
    server = RpcServer(servicer, settings.service_token.get_secret_value(), credentials.server)
    port = await server.start(settings.store_host, settings.store_port)
    stack.push_async_callback(server.stop, settings.store_shutdown_grace)
    return {"port": port, "metrics_port": metrics_port}


def _stop_signal() -> asyncio.Event:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    return stopping


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
