"""Work on files off the event loop, and what to say when it fails."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from chorus_adapter_store.errors import DataLoss, Unavailable

_P = ParamSpec("_P")
_R = TypeVar("_R")


async def on_disk(work: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
    """Run `work` off the event loop. Raises Unavailable when the disk fails."""
    try:
        return await asyncio.to_thread(work, *args, **kwargs)
    except OSError as error:
        raise Unavailable(f"the store's disk failed ({error.strerror or error}); try again later") from error


def missing(sha256: str, where: str) -> DataLoss:
    return DataLoss(f"the blob {sha256} is missing {where}; upload the adapter again")


def damaged(sha256: str, where: str) -> DataLoss:
    return DataLoss(f"the blob {sha256} is damaged {where}; upload the adapter again")
