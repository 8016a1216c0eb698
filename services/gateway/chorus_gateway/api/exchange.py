"""Work on behalf of a client, for as long as that client is there."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

T = TypeVar("T")


async def while_connected(receive: Receive, work: Coroutine[None, None, T]) -> T:
    """The result of `work`. When the client goes, `work` is cancelled and ClientDisconnect is raised.

    The request's body must have been read: from here on `receive` has nothing but the disconnect to tell.
    """
    task = asyncio.current_task()
    assert task is not None
    watch = asyncio.create_task(_cancel_without(receive, task))
    try:
        return await work
    except asyncio.CancelledError:
        # A cancellation of somebody else's, which may have come as well, goes on.
        if watch.done() and not watch.cancelled() and watch.result() and task.uncancel() == 0:
            raise ClientDisconnect from None
        raise
    finally:
        watch.cancel()


async def _cancel_without(receive: Receive, task: "asyncio.Task[Any]") -> bool:
    """Cancels `task` once the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    return task.cancel()
