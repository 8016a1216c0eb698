"""The registry's records, as gateways and the adapter store read them."""

import json
from dataclasses import dataclass

from redis.typing import EncodableT, FieldT

from chorus_engine.core.load import Held

TTL = 6.0  # seconds
HEARTBEAT = 2.0  # seconds
COMMANDS_TTL = 60.0  # seconds; commands to an engine that is gone are not kept for ever
Fields = dict[FieldT, EncodableT]

ENGINES_KEY = "chorus:engines"  # zset: engine id -> time of the last heartbeat in ms, by Redis' clock


@dataclass(frozen=True, slots=True)
class Keys:
    """Of one engine, all in one hash slot of a cluster."""

    engine_id: str

    @property
    def engine(self) -> str:
        return f"chorus:engine:{{{self.engine_id}}}"

    @property
    def residency(self) -> str:
        return f"{self.engine}:residency"

    @property
    def commands(self) -> str:
        return f"{self.engine}:commands"

    @property
    def results(self) -> str:
        return f"{self.engine}:results"


@dataclass(frozen=True, slots=True)
class Registration:
    """What does not change while the engine lives."""

    engine_id: str
    address: str  # host:port at which gateways reach it
    model: str
    model_digest: str
    started_at: float  # seconds since 1970
    max_num_seqs: int
    max_lora_rank: int
    outer_modules: tuple[str, ...] = ()  # outside the layers, that adapters may have LoRA on

    @property
    def keys(self) -> Keys:
        return Keys(self.engine_id)

    def fields(self) -> Fields:
        return {
            "address": self.address,
            "model": self.model,
            "model_digest": self.model_digest,
            "started_at": f"{self.started_at:.3f}",
            "max_num_seqs": str(self.max_num_seqs),
            "max_lora_rank": str(self.max_lora_rank),
            "outer_modules": " ".join(self.outer_modules),
        }


@dataclass(frozen=True, slots=True)
class Room:
    """What adapters may still take, in slots and bytes. Free counts what would give way to another adapter."""

    slots: int
    slots_free: int
    pool_bytes: int
    pool_bytes_free: int
    host_bytes: int
    host_bytes_free: int
    pin_bytes: int  # of the pool, that may be pinned
    pin_bytes_free: int


@dataclass(frozen=True, slots=True)
class Condition:
    """What changes."""

    room: Room
    term: int  # the highest that a command came with
    stalled: bool = False
    draining: bool = False

    def fields(self) -> Fields:
        room = self.room
        numbers = {name: getattr(room, name) for name in Room.__slots__}
        numbers.update(term=self.term, stalled=int(self.stalled), draining=int(self.draining))
        return {name: str(number) for name, number in numbers.items()}


def to_json(held: Held, epoch: float) -> str:
    """`epoch`: seconds since 1970 at the monotonic clock's zero."""
    return json.dumps(
        {
            "tier": held.tier,
            "state": held.state,
            "pages": held.pages,
            "bytes": held.bytes,
            "leases": held.leases,
            "last_use": round((held.last_use + epoch) * 1000),
            "pinned": held.pinned or "",
        }
    )
