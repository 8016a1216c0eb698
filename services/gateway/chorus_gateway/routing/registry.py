"""The engines that announce themselves in Redis."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from redis.asyncio import Redis

_ENGINES = "chorus:engines"


@dataclass(frozen=True, slots=True)
class Announcement:
    """A live engine. What it holds and how busy it is comes over its stream, sooner than Redis could say it."""

    engine_id: str
    address: str
    draining: bool = False
    stalled: bool = False  # its steps do not end: it may hang


class Registry(Protocol):
    async def read(self) -> list[Announcement]:
        """Engines whose heartbeat has not lapsed. redis.RedisError or OSError when nobody knows."""
        ...


class RedisRegistry:
    """`redis` decodes answers to str."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def read(self) -> list[Announcement]:
        ids = [str(engine_id) for engine_id in await self._redis.zrange(_ENGINES, 0, -1)]
        pipeline = self._redis.pipeline(transaction=False)
        for engine_id in ids:
            pipeline.hgetall(f"chorus:engine:{{{engine_id}}}")
        answers = await pipeline.execute() if ids else []
        # An engine's hash lapses with its heartbeat, its id in the set does not.
        return [_announcement(engine_id, fields) for engine_id, fields in zip(ids, answers, strict=True) if fields]


class NoRegistry:
    """For fixed addresses alone."""

    async def read(self) -> list[Announcement]:
        return []


def _announcement(engine_id: str, fields: Mapping[str, str]) -> Announcement:
    return Announcement(
        engine_id=engine_id,
        address=fields.get("address", ""),
        draining=_is_set(fields, "draining"),
        stalled=_is_set(fields, "stalled"),
    )


def _is_set(fields: Mapping[str, str], name: str) -> bool:
    return fields.get(name, "") in ("1", "true", "True")
