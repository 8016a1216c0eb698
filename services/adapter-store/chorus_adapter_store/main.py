"""Puts the store together, runs it until SIGTERM or SIGINT, and takes it apart in reverse."""

import asyncio
import faulthandler
import logging
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import uvloop
from redis.asyncio import Redis

from chorus_adapter_store import redis_url
from chorus_adapter_store.base_models import BasePoller, EngineRegistry, GrpcDescriber
from chorus_adapter_store.blobs import DiskBlobs
from chorus_adapter_store.catalog import (
    AliasCatalog,
    BaseCatalog,
    Catalog,
    Database,
    HistoryCatalog,
    LifecycleCatalog,
    Retention,
    SharingCatalog,
)
from chorus_adapter_store.config import Settings, load_settings
from chorus_adapter_store.errors import StartError, Unavailable
from chorus_adapter_store.events import RedisEvents
from chorus_adapter_store.janitor import Janitor
from chorus_adapter_store.rpc.credentials import Credentials, read_credentials
from chorus_adapter_store.rpc.server import RpcServer
from chorus_adapter_store.rpc.servicer import AdapterServicer
from chorus_adapter_store.rpc.status import Calls
from chorus_adapter_store.store import AdapterStore
from chorus_adapter_store.telemetry.http import MetricsServer
from chorus_adapter_store.telemetry.logs import configure_logs
from chorus_adapter_store.telemetry.metrics import Metrics
from chorus_adapter_store.telemetry.tracing import Tracing
from chorus_adapter_store.validate import ProcessValidator

_POLL_SECONDS = 1.0
_GIB = 1 << 30
_CLOSE_SECONDS = 10.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Resources:
    """What the store's parts share."""

    database: Database
    blobs: DiskBlobs
    validator: ProcessValidator
    redis: Redis


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 after a stop by signal, 2 when the store cannot start."""
    try:
        settings = load_settings(sys.argv[1:] if arguments is None else arguments)
        configure_logs(settings.log_level)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings))
    except StartError as error:
        sys.stderr.write(f"adapter-store: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


async def serve(settings: Settings) -> None:
    """Raises StartError."""
    stopping = _stop_signal()
    credentials = read_credentials(settings.tls_cert, settings.tls_key, settings.tls_ca)
    async with AsyncExitStack() as stack:
        metrics, tracing = Metrics(), Tracing(settings.otlp_endpoint, settings.otlp_protocol)
        stack.callback(tracing.close)
        resources = await _open(settings, stack)
        store, poller = _make_store(settings, resources, metrics), _make_poller(settings, resources, credentials)
        calls = Calls(metrics, tracing)
        servicer = AdapterServicer(store, calls, metrics, idle_seconds=settings.store_upload_idle_timeout)
        ports = await _listen(settings, servicer, credentials, metrics, stack)
        works = poller.run(_POLL_SECONDS), store.janitor.run(settings.store_sweep_interval), resources.validator.warm()
        for work in works:
            stack.push_async_callback(_cancel, asyncio.create_task(work))
        with suppress(Unavailable):
            await store.count()
        _log.info("listening", extra={"host": settings.store_host, **ports})
        await stopping.wait()
        _log.info("stopping")
        # A part that does not close would keep the process and its port for ever: then it says where it hangs and goes.
        faulthandler.dump_traceback_later(settings.store_shutdown_grace + _CLOSE_SECONDS, exit=True)


async def _open(settings: Settings, stack: AsyncExitStack) -> _Resources:
    """Closed by `stack`, in reverse."""
    database = await Database.open(settings.store_database_url)
    stack.push_async_callback(database.close)
    blobs = _open_blobs(settings.blob_dir)
    stack.callback(blobs.close)
    validator = _make_validator(settings)
    stack.push_async_callback(validator.close)
    redis = redis_url.connect(settings.redis_url)
    stack.push_async_callback(redis.aclose)
    return _Resources(database, blobs, validator, redis)


def _make_validator(settings: Settings) -> ProcessValidator:
    return ProcessValidator(
        settings.limits(),
        parallel=settings.store_validations,
        memory=int(settings.store_validation_memory * _GIB),
        seconds=settings.store_validation_timeout,
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
        blobs=resources.blobs,
        validator=resources.validator,
        events=RedisEvents(resources.redis),
        janitor=_make_janitor(settings, resources),
        metrics=metrics,
        limits=limits,
    )


def _make_janitor(settings: Settings, resources: _Resources) -> Janitor:
    database = resources.database
    return Janitor(Retention(database), HistoryCatalog(database), resources.blobs, grace=settings.store_delete_grace)


def _make_poller(settings: Settings, resources: _Resources, credentials: Credentials) -> BasePoller:
    describer = GrpcDescriber(settings.service_token.get_secret_value(), credentials.channel)
    return BasePoller(EngineRegistry(resources.redis), describer, BaseCatalog(resources.database))


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


def _open_blobs(folder: Path) -> DiskBlobs:
    try:
        return DiskBlobs(folder)
    except OSError as error:
        raise StartError(f"cannot write to CHORUS_BLOB_DIR={str(folder)!r}: {error.strerror or error}") from None


def _stop_signal() -> asyncio.Event:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    return stopping


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
