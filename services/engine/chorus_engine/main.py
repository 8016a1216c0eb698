"""The engine, put together: the only place where its parts learn of each other."""

import asyncio
import faulthandler
import gc
import logging
import os
import signal
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from typing import Any

import grpc.aio
import torch
import uvloop
from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from chorus_engine.adapters import (
    AdapterFetcher,
    AdapterSupply,
    HostCache,
    Layout,
    LoaderClient,
    make_policy,
)
from chorus_engine.config import Settings
from chorus_engine.constraints import ConstraintRoom
from chorus_engine.core.commands import Command, Outcome
from chorus_engine.core.request import Output, Request
from chorus_engine.core.spec import AdapterFootprint
from chorus_engine.introductions import describe, greet_loader, register
from chorus_engine.loop import EngineLoop, News
from chorus_engine.model import DigestCheck
from chorus_engine.presence import Holdings, Registry
from chorus_engine.rpc import (
    STANDING,
    Credentials,
    CreditLedger,
    Description,
    EngineService,
    Limits,
    SeatPlan,
    Seats,
    Sessions,
    TokenizerBundle,
    UsageBook,
    create_server,
    read_credentials,
)
from chorus_engine.runner import Runner
from chorus_engine.scheduler import Scheduler
from chorus_engine.scheduler.eviction import make_policy as make_slot_policy
from chorus_engine.startup import (
    HostMemory,
    Loaded,
    check_free,
    device_utilization,
    digest_cache,
    load_model,
    make_speculator,
)
from chorus_engine.telemetry import EngineMetrics, MetricsServer, Tracing, configure_logging
from chorus_engine.watchdog import Bounds, Watchdog

log = logging.getLogger(__name__)

HEALTH = "grpc.health.v1.Health"
SERVICE = "chorus.engine.v1.Engine"
LOADER_SECONDS = 20.0  # that the start waits for the loader's
STOP_GRACE = 1.0  # seconds for streams to send what they have
CLOSE_SECONDS = 20.0  # from the last request's end to the end of the process
ABANDON_SECONDS = 5.0  # of an engine that hangs
HANG_ON_CUDA, HANG_ON_CPU = 60.0, 600.0  # seconds; nothing is known of steps before the first one has ended


def run(settings: Settings) -> int:
    """Serve until a signal. The exit status: 0, or 1 when the engine broke. Raises StartError."""
    configure_logging(settings.log_level)
    check_free(settings.engine_host, settings.engine_port, "CHORUS_ENGINE_PORT")
    check_free(settings.engine_host, settings.engine_metrics_port, "CHORUS_ENGINE_METRICS_PORT")
    credentials = read_credentials(settings.tls_cert, settings.tls_key, settings.tls_ca)
    host = HostMemory(settings)
    try:
        return uvloop.run(_serve(settings, load_model(settings), host, credentials))
    finally:
        host.close()


async def _serve(settings: Settings, loaded: Loaded, host: HostMemory, credentials: Credentials) -> int:
    status = await Engine(settings, loaded, host, credentials).serve()
    faulthandler.dump_traceback_later(CLOSE_SECONDS, exit=True)  # what may hang from here on is not the engine's
    return status


class Engine:
    """Made inside the event loop that it serves on."""

    def __init__(self, settings: Settings, loaded: Loaded, host: HostMemory, credentials: Credentials) -> None:
        self._settings = settings
        self._credentials = credentials
        self._event_loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        self._status = 0
        self._hung = False
        self._engine_id = uuid.uuid4().hex[:12]
        self._metrics = EngineMetrics(device_utilization(loaded.model.device))
        self._tracing = Tracing.from_endpoint(self._engine_id, settings.otlp_endpoint, settings.otlp_protocol)
        self._cache = HostCache(
            host.region.size, make_policy(settings.eviction_policy), needed=self._is_needed, dropped=self._dropped
        )
        host.pin(loaded.model.device)
        spec = loaded.model.spec
        self._constraints = ConstraintRoom(
            loaded.bundle.tokenizer, spec.vocab_size, spec.eos_token_ids, watcher=self._metrics.constraints
        )
        runner = self._warm_runner(loaded)
        description = describe(self._engine_id, settings, loaded.model, runner.capacity)
        self._scheduler = Scheduler(
            runner.capacity,
            settings.slot_patience,
            prefix_caching=settings.enable_prefix_caching,
            eviction=make_slot_policy(settings.eviction_policy),
            speculator=make_speculator(settings, self._metrics.speculation),
        )
        layout = Layout(loaded.model.spec, loaded.model.dtype, settings.max_lora_rank)
        supply = self._make_supply(host, layout)
        self._loop = self._make_loop(runner, supply, loaded.model.device)
        self._gate = self._constraints.gate(self._loop)
        self._holdings = Holdings(runner.capacity.max_adapters, runner.memory.adapters, supply.memory())
        self._metrics.watch(self._holdings)
        self._loader = LoaderClient(host.first, host.start_loader, greet_loader(settings, layout, credentials))
        self._fetcher = self._make_fetcher()
        self._book = UsageBook(dropped=self._metrics.usage_dropped)
        self._metrics.watch_usage(lambda: len(self._book))
        self._sessions = self._make_sessions(description)
        self._health = HealthServicer()
        self._server, port = self._make_server(description, loaded.bundle)
        self._address = settings.engine_advertise or f"{settings.engine_host}:{port}"
        self._registry = Registry(
            settings.redis_url,
            register(description, self._address),
            self._holdings,
            execute=self._execute,
            ended=self._metrics.command,
        )
        self._watchdog = self._make_watchdog(loaded.model.device)
        self._digest_check = DigestCheck(loaded.model.remembered, digest_cache(settings), changed=self._broken)
        self._metrics_server = self._make_metrics_server()

    async def serve(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._event_loop.add_signal_handler(number, self._stopped.set)
        self._loop.start()
        self._constraints.warm()
        # OpenMP keeps the number a thread, and oneDNN asks it: said on another thread, it would not hold on the loop's.
        self._loop.ask(partial(torch.set_num_threads, torch.get_num_threads()))
        loader = asyncio.create_task(self._loader.run())
        await self._loader_ready()
        self._metrics_server.start()  # whose /healthz says that requests are taken
        await self._health.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()
        beside = [asyncio.create_task(self._registry.run()), loader, asyncio.create_task(self._watchdog.run())]
        log.info("serving", extra={"address": self._address, "metrics_port": self._metrics_server.port})
        self._digest_check.start()
        await self._stopped.wait()
        await (self._abandon() if self._hung else self._shut_down(beside))
        log.info("stopped", extra={"status": self._status})
        return self._status

    async def _loader_ready(self) -> None:
        """Else the first adapter would wait for its imports. The base model can do without."""
        waiting = [asyncio.create_task(self._loader.ready()), asyncio.create_task(self._stopped.wait())]
        done, _ = await asyncio.wait(waiting, timeout=LOADER_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        await _cancel(*waiting)
        if not done:
            log.warning("serving before the adapter loader is ready", extra={"waited": LOADER_SECONDS})

    async def _shut_down(self, beside: list[asyncio.Task[None]]) -> None:
        """Nothing new, what runs for a while longer, then an end for all."""
        log.info("stopping", extra={"running": self._sessions.live})
        await self._health.enter_graceful_shutdown()
        self._sessions.drain()
        await self._registry.drain()
        await self._drained()
        # A part that does not close would keep the process and its port for ever: then it says where it hangs and goes.
        faulthandler.dump_traceback_later(CLOSE_SECONDS, exit=True)
        self._sessions.end_all()
        await self._server.stop(STOP_GRACE)
        registry, loader, watchdog = beside
        await _cancel(registry, watchdog)
        await self._registry.leave()
        await self._fetcher.close()
        await _cancel(loader)
        self._constraints.close()
        await asyncio.to_thread(self._loop.stop)
        await asyncio.to_thread(self._digest_check.stop)
        await asyncio.to_thread(self._tracing.close)
        self._metrics_server.stop()
        faulthandler.cancel_dump_traceback_later()

    async def _abandon(self) -> None:
        """The loop's thread hangs, and nobody knows what it holds: tell who can be told, then end without it."""
        faulthandler.dump_traceback_later(ABANDON_SECONDS, exit=True)
        self._sessions.end_all()
        await self._server.stop(STOP_GRACE)
        await self._registry.leave()
        logging.shutdown()
        os._exit(self._status)

    async def _drained(self) -> None:
        """Until nothing runs, for as long as running requests may go on; a broken engine's have ended."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._sessions.empty.wait(), self._settings.drain_seconds)

    # ---------------------------------------------------------------- on the loop's thread

    def _publish(self, news: News) -> None:
        self._event_loop.call_soon_threadsafe(self._deliver, news)

    def _broken(self) -> None:
        self._status = 1
        self._event_loop.call_soon_threadsafe(self._stopped.set)

    def _is_needed(self, digest: str) -> bool:
        return self._scheduler.awaits_adapter(digest)

    def _dropped(self, digest: str) -> None:
        self._scheduler.adapter_evicted(digest)

    def _want(self, digest: str, urgent: bool) -> None:
        self._event_loop.call_soon_threadsafe(self._start_fetch, digest, urgent)

    def _hasten(self, digest: str) -> None:
        self._event_loop.call_soon_threadsafe(self._fetcher.hasten, digest)

    # ---------------------------------------------------------------- on the event loop

    def _deliver(self, news: News) -> None:
        self._holdings.take(news.adapters, news.host)
        self._sessions.hold(news.adapters)
        self._sessions.deliver(news.outputs, news.load)
        self._registry.changed(news.adapters)
        self._metrics.publish(news.outputs, news.load, news.host.evictions)

    async def _execute(self, command: Command) -> Outcome:
        ended: Future[Outcome] = Future()
        self._loop.command(command, done=ended.set_result)
        return await asyncio.shield(asyncio.wrap_future(ended))

    def _set_stalled(self, stalled: bool) -> None:
        self._sessions.set_stalled(stalled)
        self._registry.set_stalled(stalled)
        self._metrics.stalled(stalled)

    def _hang(self) -> None:
        self._hung, self._status = True, 1
        self._stopped.set()

    def _start_fetch(self, digest: str, urgent: bool) -> None:
        self._fetcher.start(digest, self._sessions.traceparent_of(digest), urgent=urgent)

    async def _find_room(self, footprint: AdapterFootprint, size: int) -> int:
        return await asyncio.wrap_future(self._loop.adapter_room(footprint, size))

    def _finished(self, request: Request, output: Output) -> None:
        self._gate.ended(request.id)
        self._metrics.finished(output)
        self._tracing.finished(request, output)

    @contextmanager
    def _around_fetch(self, digest: str, traceparent: str) -> Iterator[str]:
        began, ok = time.monotonic(), False
        try:
            with self._tracing.fetch(digest, traceparent) as onward:
                yield onward
            ok = True
        finally:
            self._metrics.fetched(time.monotonic() - began, ok=ok)

    # ---------------------------------------------------------------- while composing

    def _warm_runner(self, loaded: Loaded) -> Runner:
        runner = Runner(
            loaded.model,
            loaded.capacity,
            self._cache,
            eager=self._settings.enforce_eager,
            constraints=self._constraints.source,
            draft=loaded.draft,
        )
        runner.warm_up()
        gc.freeze()  # what lives as long as the engine is not looked through again and again in the middle of steps
        log.info("memory", extra=asdict(runner.memory))
        self._metrics.memory(asdict(runner.memory))
        return runner

    def _make_supply(self, host: HostMemory, layout: Layout) -> AdapterSupply:
        return AdapterSupply(
            self._cache,
            start=self._want,
            hasten=self._hasten,
            priority=self._scheduler.priority,
            shape=partial(host.region.shape, layout),
        )

    def _make_loop(self, runner: Runner, supply: AdapterSupply, device: torch.device) -> EngineLoop:
        return EngineLoop(
            self._scheduler,
            runner,
            supply,
            publish=self._publish,
            broken=self._broken,
            observer=self._metrics,
            depth=2 if device.type == "cuda" else 1,
        )

    def _make_fetcher(self) -> AdapterFetcher:
        return AdapterFetcher(
            self._loader,
            room=self._find_room,
            arrived=self._loop.adapter_arrived,
            failed=self._loop.adapter_failed,
            trace=self._around_fetch,
        )

    def _make_sessions(self, description: Description) -> Sessions:
        spec, rows = description.spec, description.max_num_seqs
        seats = Seats(self._seat_plan(rows), outside=lambda: self._gate.waiting)
        return Sessions(
            self._gate,
            Limits(description.max_model_len, spec.vocab_size, spec.eos_token_ids),
            CreditLedger(seats, patience=self._settings.band_patience, standing=STANDING),
            finished=self._finished,
            book=self._book,
        )

    def _seat_plan(self, rows: int) -> SeatPlan:
        return SeatPlan.of(rows, priority_share=self._settings.priority_share, kept=self._settings.kept_seats)

    def _make_server(self, description: Description, bundle: TokenizerBundle) -> tuple[grpc.aio.Server, int]:
        """The server, not started, and its port."""
        return create_server(
            EngineService(description, bundle, self._sessions),
            address=f"{self._settings.engine_host}:{self._settings.engine_port}",
            token=self._settings.service_token.get_secret_value(),
            credentials=self._credentials.server,
            add_services=[self._add_health],
            open_services=[HEALTH],
        )

    def _make_metrics_server(self) -> MetricsServer:
        return MetricsServer(
            self._settings.engine_host,
            self._settings.engine_metrics_port,
            self._metrics.registry,
            healthy=lambda: not self._stopped.is_set(),
        )

    def _make_watchdog(self, device: torch.device) -> Watchdog:
        hang = self._settings.hang_seconds or (HANG_ON_CUDA if device.type == "cuda" else HANG_ON_CPU)
        return Watchdog(
            self._loop.pulse,
            Bounds(self._settings.stall_seconds, hang),
            stalled=self._set_stalled,
            hung=self._hang,
            where=self._loop.stack,
        )

    def _add_health(self, server: grpc.aio.Server) -> None:
        add_HealthServicer_to_server(self._health, server)


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
