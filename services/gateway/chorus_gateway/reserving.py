"""Quota held for as long as a block runs, whatever ends it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

from chorus_gateway.quota.base import Quota
from chorus_gateway.values import Reservation, Tenant


@asynccontextmanager
async def reserved(
    quota: Quota, tenant: Tenant, request_id: str, tokens: int, used: Callable[[], int]
) -> AsyncIterator[Reservation]:
    """Reserves `tokens` and settles for `used()` at the end. A cancellation waits for either to be complete, so that
    a reservation made is always settled."""
    made: list[Reservation] = []

    async def reserve() -> None:
        made.append(await quota.reserve(tenant, request_id, tokens))

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
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    task.result()
