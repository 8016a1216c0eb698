"""Changes of adapters, as the store tells them on a Redis stream."""

import asyncio
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from chorus_gateway.models.resolver import Resolver

STREAM = "chorus:adapters"
RETRY_SECONDS = 1.0
BLOCK_MS = 5_000


async def follow_adapters(redis: Redis, resolver: Resolver) -> None:
    """Runs until cancelled. Events only shorten the resolver's cache; nothing depends on one arriving.

    `redis` speaks RESP2, decodes answers to str and has a socket timeout above BLOCK_MS.
    """
    last = "$"
    while True:
        try:
            answer: Any = await redis.xread({STREAM: last}, count=1000, block=BLOCK_MS)
        except (RedisError, OSError):
            await asyncio.sleep(RETRY_SECONDS)
            resolver.invalidate_all()
            last = "$"  # what was missed meanwhile has lapsed
            continue
        for _stream, entries in answer:
            for entry_id, fields in entries:
                last = entry_id
                resolver.invalidate(fields.get("tenant", ""), fields.get("name", ""))
