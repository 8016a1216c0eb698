"""The registry's records, as gateways and the adapter store read them."""

import json
from dataclasses import dataclass

from redis.typing import EncodableT, FieldT

from chorus_engine.core.load import SlotState

TTL = 6.0  # seconds
HEARTBEAT = 2.0  # seconds
Fields = dict[FieldT, EncodableT]

ENGINES_KEY = "chorus:engines"  # zset: engine id -> time of the last heartbeat in ms, by Redis' clock


@dataclass(frozen=True, slots=True)
class Registration:
    engine_id: str
    address: str  # host:port at which gateways reach it
    model: str
    model_digest: str
    started_at: float  # seconds since 1970
    max_num_seqs: int
    max_lora_rank: int

    @property
    def key(self) -> str:
        return f"chorus:engine:{{{self.engine_id}}}"

    @property
    def residency_key(self) -> str:
        return f"{self.key}:residency"

    def fields(self, *, draining: bool) -> Fields:
        return {
            "address": self.address,
            "model": self.model,
            "model_digest": self.model_digest,
            "started_at": f"{self.started_at:.3f}",
            "max_num_seqs": str(self.max_num_seqs),
            "max_lora_rank": str(self.max_lora_rank),
            "draining": str(int(draining)),
        }


@dataclass(frozen=True, slots=True)
class Held:
    """An adapter that the engine holds, in a slot ("gpu", whatever the device) or in host memory ("host")."""

    digest: str
    state: SlotState
    tier: str
    pages: int
    leases: int
    last_use: int  # ms since 1970

    def to_json(self) -> str:
        fields = {"state": self.state, "tier": self.tier, "pages": self.pages, "leases": self.leases}
        return json.dumps({**fields, "last_use": self.last_use})
