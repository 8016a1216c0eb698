"""The engines as this worker's streams tell of them; their figures are of all gateways, an ejection is its own."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from chorus_gateway.engine_client.residency import Tier
from chorus_gateway.routing.member import Member

State = Literal["ready", "draining", "stalled", "ejected", "away"]


@dataclass(frozen=True, slots=True)
class EngineActivity:
    id: str
    address: str
    model: str
    state: State
    running: int = 0  # answers in its batch
    waiting: int = 0  # answers there that are not
    kv_blocks: int = 0
    kv_blocks_free: int = 0
    slots: int = 0
    slots_free: int = 0  # those too whose adapter nobody uses


def engine_activities(members: Iterable[Member]) -> tuple[EngineActivity, ...]:
    """By id. One that was never reached has no name yet and is left out."""
    known = (member for member in members if member.client.description is not None)
    return tuple(sorted(map(_activity, known), key=lambda engine: engine.id))


def _activity(member: Member) -> EngineActivity:
    model, address = member.description.base.name, member.client.address
    if not member.connected:
        return EngineActivity(member.id, address, model, "away")
    load, held = member.session.load, member.session.residency.count(Tier.LOADING, Tier.GPU)
    return EngineActivity(
        member.id,
        address,
        model,
        _state(member),
        running=load.running,
        waiting=load.requests - load.running,
        kv_blocks=load.total_blocks,
        kv_blocks_free=load.free_blocks,
        slots=load.free_slots + held,
        slots_free=load.free_slots + load.idle_slots,
    )


def _state(member: Member) -> State:
    if member.draining:
        return "draining"
    if member.stalled:
        return "stalled"
    return "ejected" if member.health.ejected else "ready"
