"""Work on behalf of a client, for as long as that client is there."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from chorus_gateway.http1 import Client

T = TypeVar("T")


async def while_connected(scope: Scope, receive: Receive, work: Coroutine[None, None, T]) -> T:
    """The result of `work`. When the client goes, `work` is cancelled and ClientDisconnect is raised.

    The request's body must have been read: from here on `receive` has nothing but the disconnect to tell.
    """
    task = asyncio.current_task()
    assert task is not None
    gone = False

    def leave() -> None:
        nonlocal gone
        gone = task.cancel()

    client: Client | None = scope.get("extensions", {}).get(Client.NAME)
    with _watched(receive, leave) if client is None else client.watched(leave):
        try:
            return await work
        except asyncio.CancelledError:
            # A cancellation of somebody else's, which may have come as well, goes on.
            if gone and task.uncancel() == 0:
                raise ClientDisconnect from None
            raise


@contextmanager
def _watched(receive: Receive, leave: Callable[[], None]) -> Iterator[None]:
    """Behind a server that is not ours."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        leave()

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
