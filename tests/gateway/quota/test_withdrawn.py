"""Reservations whose callers are cancelled leave nothing behind."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis

from chorus_gateway.quota import SettlesBehind
from chorus_gateway.quota.base import Used
from chorus_gateway.reserving import reserved
from tests.gateway.quota.conftest import in_flight, shared, tenant, wanted

PLACES = 3


@pytest.mark.parametrize("turns", range(6))
async def test_a_cancelled_reservation_is_given_back(redis: Redis, turns: int) -> None:
    async with AsyncExitStack() as stack:
        quota = await shared(stack, redis)
        await quota.settle(await quota.reserve(wanted(tenant(concurrent_requests=PLACES))), Used())
        asking = [asyncio.create_task(quota.reserve(wanted(tenant(concurrent_requests=PLACES)))) for _ in range(PLACES)]
        for _ in range(turns):  # not yet begun, not yet sent, sent, …
            await asyncio.sleep(0)
        for task in asking:
            task.cancel()
        for ended in await asyncio.gather(*asking, return_exceptions=True):
            if not isinstance(ended, BaseException):
                await quota.settle(ended, Used())
        again = await quota.reserve(wanted(tenant(concurrent_requests=1)))  # what was given back went before
        await quota.settle(again, Used())
        assert await in_flight(quota) == 0


async def test_a_settlement_outlives_its_request(redis: Redis) -> None:
    async with AsyncExitStack() as stack:
        quota = await shared(stack, redis)
        behind = SettlesBehind(quota)
        inside = asyncio.Event()

        async def request() -> None:
            async with reserved(behind, wanted(tenant(concurrent_requests=PLACES)), Used):
                inside.set()
                await asyncio.sleep(60)

        task = asyncio.create_task(request())
        await inside.wait()
        assert await in_flight(quota) == 1
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()  # while it settles
        await asyncio.wait([task])
        await behind.aclose()
        assert await in_flight(quota) == 0
