"""News of adapters on a Redis stream, for whoever wants to act before it is asked.

Nobody depends on it: engines fetch by digest and gateways resolve by name, so a lost event delays a prefetch at most.
"""

import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError

from chorus_adapter_store.outage import Outage
from chorus_adapter_store.values import Generation

STREAM = "chorus:adapters"
_MAX_LENGTH = 10_000  # about; older events are dropped


class EventKind(StrEnum):
    PUBLISHED = "published"
    ALIAS = "alias"
    VISIBILITY = "visibility"
    RETIRED = "retired"
    RESTORED = "restored"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Event:
    kind: EventKind
    generation: Generation
    alias: str = ""  # with ALIAS: the one that was moved or removed

    def fields(self) -> dict[Any, Any]:
        generation = self.generation
        return {
            "event": self.kind.value,
            "tenant": generation.adapter.tenant,
            "name": generation.adapter.name,
            "generation": str(generation.generation),
            "digest": generation.digest,
            "model": generation.model,
            "alias": self.alias,
        }


class Events(Protocol):
    async def send(self, *events: Event) -> None:
        """Never fails: what cannot be sent is dropped."""
        ...


class RedisEvents:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._outage = Outage("Redis (adapter events)", logging.getLogger(__name__))

    async def send(self, *events: Event) -> None:
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for event in events:
                    pipeline.xadd(STREAM, event.fields(), maxlen=_MAX_LENGTH, approximate=True)
                await pipeline.execute()
        except (RedisError, OSError) as error:
            self._outage.failed(error)
        else:
            self._outage.worked()
