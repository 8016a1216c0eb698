"""One engine as the pool holds it."""

import asyncio
from dataclasses import dataclass, field

from chorus_gateway.engine_client.client import Description, EngineClient
from chorus_gateway.engine_client.residency import Tier
from chorus_gateway.engine_client.session import Session
from chorus_gateway.routing.health import Health
from chorus_gateway.routing.registry import Announcement


@dataclass(slots=True, eq=False)
class Member:
    client: EngineClient
    task: asyncio.Task[None]
    announced: Announcement | None = None
    told: tuple[bool, bool] = (False, False)  # whether it takes requests, and may hang, as listeners know it
    drained: bool = False  # by an administrator's order
    silent: bool = False  # it has requests of ours and has said nothing for too long
    frames: int = 0  # that it has sent
    health: Health = field(default_factory=Health)

    @property
    def description(self) -> Description:
        """There is one from the first session on."""
        assert self.client.description is not None
        return self.client.description

    @property
    def id(self) -> str:
        return self.description.engine_id

    @property
    def session(self) -> Session:
        """There is one while the engine is connected."""
        assert self.client.session is not None
        return self.client.session

    @property
    def connected(self) -> bool:
        return self.client.session is not None

    @property
    def draining(self) -> bool:
        return self.drained or (self.announced is not None and self.announced.draining)

    @property
    def stalled(self) -> bool:
        """It may hang, as its silence, its stream or Redis says."""
        announced = self.announced is not None and self.announced.stalled
        return self.silent or announced or (self.client.session is not None and self.client.session.load.stalled)

    @property
    def willing(self) -> bool:
        """Whether it can be sent requests, well or not."""
        return self.client.session is not None and not self.draining and not self.stalled

    @property
    def takes(self) -> bool:
        """Whether it may be sent requests."""
        return self.willing and self.health.admits

    @property
    def load(self) -> int:
        """Requests. The engine's own count has other gateways' in it, but not yet those that we sent last."""
        session = self.session
        return max(len(session), session.load.requests)

    @property
    def capacity(self) -> int:
        """Requests that run at once, at least 1."""
        return max(1, self.description.max_num_seqs)

    def serves(self, model: str) -> bool:
        """Whether its base model has this digest."""
        return self.client.description is not None and self.client.description.base.digest == model

    def tier(self, adapter: str) -> Tier:
        return self.session.residency.tier(adapter)
