"""Quota held for as long as a block runs, whatever ends it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

from chorus_gateway.quota.base import Quota, Reservation, Used, Wanted


@asynccontextmanager
async def reserved(quota: Quota, wanted: Wanted, used: Callable[[], Used]) -> AsyncIterator[Reservation]:
    """Reserves what is wanted and settles for `used()` at the end. A cancellation waits for either to be complete, so
    that a reservation made is always settled."""
    made: list[Reservation] = []

    async def reserve() -> None:
        made.append(await quota.reserve(wanted))

    try:
        await _finish(reserve())
        yield made[0]
    finally:
        if made:
            await _finish(quota.settle(made[0], used()))


async def _finish(work: Coroutine[None, None, None]) -> None:
    """Runs `work` to its end, and only then lets a cancellation through."""
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})  # which leaves it alone when it is cancelled itself
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    task.result()
