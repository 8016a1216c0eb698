"""Claims without Redis."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from redis.exceptions import ConnectionError as RedisConnectionError

from chorus_gateway.routing.claims import Claim


@dataclass
class HeldClaims:
    """They never lapse; `away` is Redis's absence."""

    held: dict[str, str] = field(default_factory=dict)
    calls: int = 0
    away: bool = False

    async def claim(self, adapter: str, engine: str, engines: Sequence[str]) -> Claim:
        self.calls += 1
        if self.away:
            raise RedisConnectionError("away")
        won = self.held.get(adapter) not in engines
        if won:
            self.held[adapter] = engine
        return Claim(self.held[adapter], won, 5.0)
