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
    """Runs until cancelled. Events shorten the resolver's cache; while they cannot be heard, it keeps nothing for long.

    `redis` speaks RESP2, decodes answers to str and has a socket timeout above BLOCK_MS.
    """
    last = ""
    while True:
        try:
            if not last:
                last = await _newest(redis)
                resolver.hears(all_events=True)  # what was missed meanwhile has lapsed
            answer: Any = await redis.xread({STREAM: last}, count=1000, block=BLOCK_MS)
        except (RedisError, OSError):
            last = ""
            resolver.hears(all_events=False)
            await asyncio.sleep(RETRY_SECONDS)
            continue
        for _stream, entries in answer:
            for entry_id, fields in entries:
                last = entry_id
                resolver.invalidate(fields.get("tenant", ""), fields.get("name", ""))


async def _newest(redis: Redis) -> str:
    """The id of the last event so far. Not "$", of which nobody can tell when it was read."""
    found: Any = await redis.xrevrange(STREAM, count=1)
    return str(found[0][0]) if found else "0-0"
