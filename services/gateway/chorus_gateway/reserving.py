"""Quota held for as long as a block runs, whatever ends it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from chorus_gateway.quota.base import Quota, Reservation, Used, Wanted


@asynccontextmanager
async def reserved(quota: Quota, wanted: Wanted, used: Callable[[], Used]) -> AsyncIterator[Reservation]:
    """Reserves what is wanted and settles for `used()` at the end. Neither is left half done by a cancellation: that is
    the quota's part."""
    reservation = await quota.reserve(wanted)
    try:
        yield reservation
    finally:
        await quota.settle(reservation, used())
