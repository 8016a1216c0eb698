"""Changes of adapters, as the store tells them on a Redis stream."""

import asyncio
from collections.abc import Iterator
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from chorus_gateway.models.resolver import Resolver

STREAM = "chorus:adapters"
RETRY_SECONDS = 1.0
BLOCK_MS = 5_000


async def follow_adapters(redis: Redis, resolver: Resolver) -> None:
    """Runs until cancelled. Events only shorten the resolver's cache; nothing depends on one arriving.

    `redis` decodes answers to str and has a socket timeout above BLOCK_MS.
    """
    last = "$"
    while True:
        try:
            answer = await redis.xread({STREAM: last}, count=1000, block=BLOCK_MS)
        except (RedisError, OSError):
            await asyncio.sleep(RETRY_SECONDS)
            resolver.invalidate_all()
            last = "$"  # what was missed meanwhile has lapsed
            continue
        for entry_id, fields in _entries(answer):
            last = entry_id
            tenant, name = fields.get("tenant", ""), fields.get("name", "")
            resolver.invalidate(tenant, name)


def _entries(answer: Any) -> Iterator[tuple[str, dict[str, str]]]:
    """Of the one stream that was asked for: RESP2 answers a list of pairs, RESP3 a map of lists."""
    if isinstance(answer, dict):
        for batches in answer.values():
            for batch in batches:
                yield from batch
    else:
        for _stream, entries in answer or ():
            yield from entries
