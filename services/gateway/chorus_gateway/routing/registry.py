"""The engines that announce themselves in Redis."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from redis.asyncio import Redis

_ENGINES = "chorus:engines"


@dataclass(frozen=True, slots=True)
class Announcement:
    """A live engine. `tiers` says where its adapters are: digest to "gpu" or "host"; those not ready are left out."""

    engine_id: str
    address: str
    draining: bool = False
    tiers: Mapping[str, str] = field(default_factory=dict)


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
            pipeline.hgetall(f"chorus:engine:{{{engine_id}}}:residency")
        answers = await pipeline.execute() if ids else []
        pairs = zip(ids, answers[::2], answers[1::2], strict=True)
        # An engine's hash lapses with its heartbeat, its id in the set does not.
        return [_announcement(engine_id, fields, residency) for engine_id, fields, residency in pairs if fields]


class NoRegistry:
    """For fixed addresses alone."""

    async def read(self) -> list[Announcement]:
        return []


def _announcement(engine_id: str, fields: Mapping[str, str], residency: Mapping[str, str]) -> Announcement:
    states = {digest: json.loads(state) for digest, state in residency.items()}
    return Announcement(
        engine_id=engine_id,
        address=fields.get("address", ""),
        draining=fields.get("draining", "") in ("1", "true", "True"),
        tiers={digest: state.get("tier", "") for digest, state in states.items() if state.get("state") == "ready"},
    )
