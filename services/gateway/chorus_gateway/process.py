"""The gateway as a process, or as several: from its settings to its exit status."""

import asyncio
import faulthandler
import gc
import logging
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import uvloop
from fastapi import FastAPI

from chorus_gateway.background import running
from chorus_gateway.config import Settings
from chorus_gateway.errors import StartError
from chorus_gateway.server import Server, bind, reserve, share
from chorus_gateway.workers import Worker, Workers

CLOSE_SECONDS = 15.0  # from the last answer to the end of the process
REACH_SECONDS = 5.0  # after which a worker serves without engines
# Objects made and not freed before the young ones are looked through for cycles, and how many such passes go before the
# older ones' turn. With thousands of streams open a pass over everything takes a second in which nobody is answered.
COLLECT_AFTER = (10_000, 20, 50)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gateway:
    app: FastAPI
    background: tuple[Coroutine[Any, Any, None], ...]  # each runs for as long as the gateway serves
    reached: Callable[[], bool]  # whether an engine is connected
    drain: Callable[[], Awaitable[None]]  # at the end: lets requests finish


# From the settings, in a worker's process (None where there is only one). What has to be closed is left with the stack.
Compose = Callable[[Settings, AsyncExitStack, Worker | None], Awaitable[Gateway]]


def run(settings: Settings, compose: Compose) -> int:
    """Serves until told to end. The exit status; 2 with one sentence on stderr when it cannot start."""
    if settings.gateway_workers == 1:
        return _run(settings, compose, None)
    try:
        with reserve(settings.gateway_host, settings.gateway_port) as holder:
            work = partial(_run, settings, compose)
            patience = settings.shutdown_grace + 2 * CLOSE_SECONDS
            return Workers(settings.gateway_workers, holder.getsockname()[1], work, patience=patience).run()
    except StartError as error:
        return refuse(error)


def refuse(error: StartError) -> int:
    sys.stderr.write(f"chorus-gateway: {error}\n")
    return 2


def _run(settings: Settings, compose: Compose, worker: Worker | None) -> int:
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, compose, worker))
    except StartError as error:
        return refuse(error)
    return 0


async def _serve(settings: Settings, compose: Compose, worker: Worker | None) -> None:
    """Until SIGTERM or SIGINT, or until the worker's parent is gone. StartError when it cannot start."""
    async with AsyncExitStack() as stack:
        listener = _listener(settings, worker)
        stack.callback(listener.close)
        gateway = await compose(settings, stack, worker)
        server = Server(gateway.app, partial(_end, gateway.drain), worker.leash.ready if worker else None)
        if worker is not None:
            stack.enter_context(worker.leash.held(server.stop))
        for work in gateway.background:
            await stack.enter_async_context(running(work, server.stop))
        await _await_engines(worker, gateway.reached)
        _spare_collections()
        host, port = listener.getsockname()[:2]
        log.info("gateway listens", extra={"host": host, "port": port, "worker": worker.index if worker else 0})
        await server.serve(sockets=[listener])


def _listener(settings: Settings, worker: Worker | None) -> socket.socket:
    if worker is None:
        return bind(settings.gateway_host, settings.gateway_port)
    return share(settings.gateway_host, worker.port)


async def _await_engines(worker: Worker | None, reached: Callable[[], bool]) -> None:
    """A worker that takes a dead one's place takes connections once it can serve them, as others can meanwhile."""
    if worker is not None and worker.starts > 1:
        until = time.monotonic() + REACH_SECONDS
        while not reached() and time.monotonic() < until:  # noqa: ASYNC110 - once in a process's life
            await asyncio.sleep(0.05)


def _spare_collections() -> None:
    gc.collect()
    gc.freeze()  # what is here now lives as long as the process
    gc.set_threshold(*COLLECT_AFTER)


async def _end(drain: Callable[[], Awaitable[None]]) -> None:
    """A part that does not close would keep the process and its port for ever: then it says where it hangs and goes."""
    await drain()
    faulthandler.dump_traceback_later(CLOSE_SECONDS, exit=True)
