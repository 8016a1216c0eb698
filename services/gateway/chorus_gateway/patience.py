"""A timeout that blames nobody for this process's own pauses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

TICKS = 4


@asynccontextmanager
async def patient(seconds: float) -> AsyncIterator[None]:
    """TimeoutError when the block takes longer than `seconds`, in which the event loop could run.

    asyncio's own timeout also passes while this process is not given the processor or does something else, and then
    ends what has been answered long since and only not been read. Here the time passes in steps, and between two of
    them the loop looks at its sockets.
    """
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle
    async with asyncio.timeout(None) as limit:

        def tick(left: int) -> None:
            nonlocal timer
            if left:
                timer = loop.call_later(seconds / TICKS, tick, left - 1)
            else:
                limit.reschedule(loop.time())

        timer = loop.call_later(seconds / TICKS, tick, TICKS - 1)
        try:
            yield
        finally:
            timer.cancel()
