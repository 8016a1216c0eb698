import asyncio
import time

import pytest

from chorus_gateway.patience import patient


async def test_what_takes_too_long_ends() -> None:
    with pytest.raises(TimeoutError):
        async with patient(0.08):
            await asyncio.sleep(3600)


async def test_what_is_done_in_time_is_left_alone() -> None:
    async with patient(0.05):
        await asyncio.sleep(0)
    await asyncio.sleep(0.1)  # nothing is left that could go off


async def test_a_pause_of_this_process_is_not_the_others() -> None:
    loop = asyncio.get_running_loop()
    async with patient(0.1):
        answered = loop.create_future()
        loop.call_later(0.001, answered.set_result, None)
        loop.call_soon(time.sleep, 0.3)  # as a process does that is not given the processor
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await answered


async def test_a_cancellation_goes_through() -> None:
    async def wait() -> None:
        async with patient(5):
            await asyncio.sleep(5)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
