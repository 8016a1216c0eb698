"""Work that goes on for as long as the gateway serves."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

log = logging.getLogger(__name__)


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None], failed: Callable[[], None]) -> AsyncIterator[None]:
    """`work` runs beside the block and is cancelled at its end. `failed` is called if it ends with an error before."""

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("a background task failed", exc_info=error)
            failed()

    task = asyncio.create_task(work)
    task.add_done_callback(ended)
    try:
        yield
    finally:
        # Until it has ended: Python 3.11's wait_for, on which redis-py builds, may swallow a cancellation.
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=0.1)
