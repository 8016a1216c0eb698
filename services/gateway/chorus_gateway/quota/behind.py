"""Settlements that nobody waits for: an answer need not wait until Redis knows what it came to."""

import asyncio

from chorus_gateway.quota.base import Quota, Reservation, Used, Wanted


class SettlesBehind:
    """`settle` of `quota` goes on after it has returned, but for those whose next request may need the place. What one
    worker settles reaches Redis before what it reserves later."""

    def __init__(self, quota: Quota) -> None:
        self._quota = quota
        self._settling: set[asyncio.Task[None]] = set()

    async def reserve(self, wanted: Wanted) -> Reservation:
        return await self._quota.reserve(wanted)

    async def settle(self, reservation: Reservation, used: Used) -> None:
        task = asyncio.create_task(self._quota.settle(reservation, used))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        # Whoever has few places may send the next request, to another gateway, as soon as this one is answered.
        if reservation.wanted.pressing:
            await asyncio.shield(task)

    async def aclose(self) -> None:
        """Once no request is left: waits until all is settled."""
        if self._settling:
            await asyncio.wait(self._settling)
