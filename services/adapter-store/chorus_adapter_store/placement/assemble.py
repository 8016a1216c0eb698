"""The placer from its parts."""

import os
import socket

from redis.asyncio import Redis

from chorus_adapter_store.catalog import Database, PinCatalog, PlacingCatalog, TermCatalog, UsageCatalog
from chorus_adapter_store.placement.knowledge import Knowledge
from chorus_adapter_store.placement.lock import Lock
from chorus_adapter_store.placement.news import News
from chorus_adapter_store.placement.placer import Placer
from chorus_adapter_store.placement.tenure import Tenure
from chorus_adapter_store.placement.view import View
from chorus_adapter_store.placement.wire import Wire
from chorus_adapter_store.telemetry.metrics import Metrics


def make_placer(database: Database, redis: Redis, following: Redis, metrics: Metrics) -> Placer:
    """`following`: a client for blocking reads, whose socket waits for longer than news.BLOCK_SECONDS."""
    placing, terms, view = PlacingCatalog(database), TermCatalog(database), View(redis)
    lock = Lock(redis, f"{socket.gethostname()}:{os.getpid()}")
    news = News(following, placing)
    knowledge = Knowledge(placing, PinCatalog(database))

    def begin(term: int) -> Tenure:
        return Tenure(
            term,
            lock=lock,
            terms=terms,
            view=view,
            wire=Wire(redis),
            news=news,
            knowledge=knowledge,
            usage=UsageCatalog(database),
            metrics=metrics,
        )

    return Placer(lock, terms, view, news, knowledge, metrics, begin)
