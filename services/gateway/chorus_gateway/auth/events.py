"""Changes of keys and tenants, told to every gateway worker through Redis."""

import asyncio
import logging
from typing import Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError

from chorus_gateway.auth.authenticator import Authenticator
from chorus_gateway.errors import Unavailable

CHANNEL = "chorus:auth"
TERMS = "terms"
RETRY_SECONDS = 1.0

log = logging.getLogger(__name__)


class Invalidated(Protocol):
    def invalidate(self) -> None: ...


class AuthEvents:
    """Messages are `key:<id>`, `tenant:<id>` and `terms` (prices, and limits of adapters' use). They are a hint that
    saves the cache's short life, never the only means: with Redis away a change takes effect when the cached entry's
    time is over."""

    def __init__(self, redis: Redis, authenticator: Authenticator, terms: Invalidated) -> None:
        """`redis` decodes answers to str."""
        self._redis = redis
        self._authenticator = authenticator
        self._terms = terms

    async def require(self) -> None:
        """Unavailable when a change could not be announced now: administrators' writes fail closed."""
        try:
            await self._redis.ping()
        except (RedisError, OSError) as error:
            raise Unavailable(
                "Redis does not answer, so a change would not reach every gateway at once; try again in a moment."
            ) from error

    async def key_changed(self, key_id: str) -> None:
        self._authenticator.invalidate(key_id)
        await self._publish(f"key:{key_id}")

    async def tenant_changed(self, tenant_id: str) -> None:
        self._authenticator.invalidate_all()
        await self._publish(f"tenant:{tenant_id}")

    async def terms_changed(self) -> None:
        self._terms.invalidate()
        await self._publish(TERMS)

    async def listen(self) -> None:
        """Runs until cancelled."""
        while True:
            try:
                await self._follow()
            except (RedisError, OSError):
                await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self) -> None:
        async with self._redis.pubsub(ignore_subscribe_messages=False) as channel:
            await channel.subscribe(CHANNEL)
            while True:
                # A timeout instead of an endless read, so that a half-open connection is noticed.
                message = await channel.get_message(timeout=5.0)
                if message is not None:
                    self._apply(message)

    def _apply(self, message: dict[str, object]) -> None:
        data = message["data"]
        if message["type"] == "subscribe":
            self._authenticator.invalidate_all()  # what was said before the subscription was missed
            self._terms.invalidate()
        elif data == TERMS:
            self._terms.invalidate()
        elif isinstance(data, str) and data.startswith("key:"):
            self._authenticator.invalidate(data.removeprefix("key:"))
        else:
            self._authenticator.invalidate_all()

    async def _publish(self, message: str) -> None:
        try:
            await self._redis.publish(CHANNEL, message)
        except (RedisError, OSError) as error:
            log.warning("could not announce a change of keys", extra={"change": message, "error": str(error)})
