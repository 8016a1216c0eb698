"""The store's messages as the gateway's values."""

from chorus_gateway.adapters.values import (
    Adapter,
    AliasChange,
    Engine,
    Pin,
    Published,
    Resident,
    State,
    Target,
    Tier,
    Transition,
    Visibility,
)
from chorus_gateway.values import Limits
from chorus_proto.adapters.v1 import adapters_pb2 as pb

STATES: dict[int, State] = {
    pb.STATE_UPLOADED: State.UPLOADED,
    pb.STATE_VALIDATED: State.VALIDATED,
    pb.STATE_PUBLISHED: State.PUBLISHED,
    pb.STATE_RETIRED: State.RETIRED,
    pb.STATE_DELETED: State.DELETED,
    pb.STATE_GONE: State.GONE,
    pb.STATE_REFUSED: State.REFUSED,
}
VISIBILITIES: dict[Visibility, pb.Visibility] = {
    Visibility.PRIVATE: pb.VISIBILITY_PRIVATE,
    Visibility.SHARED: pb.VISIBILITY_SHARED,
    Visibility.PUBLIC: pb.VISIBILITY_PUBLIC,
}
TIERS: dict[Tier, pb.Tier] = {Tier.HOST: pb.TIER_HOST, Tier.GPU: pb.TIER_GPU}


def quota(limits: Limits) -> pb.Quota:
    return pb.Quota(adapters=limits.adapters or 0, bytes=limits.adapter_bytes or 0, rank=limits.adapter_rank or 0)


def adapter(message: pb.Adapter) -> Adapter:
    visibilities = {number: visibility for visibility, number in VISIBILITIES.items()}
    return Adapter(
        tenant=message.tenant,
        name=message.name,
        model=message.model,
        generation=message.generation,
        digest=message.digest,
        rank=message.rank,
        modules=tuple(message.modules),
        size=message.size,
        aliases=tuple(message.aliases),
        created_at=message.created_at,
        visibility=visibilities.get(message.visibility, Visibility.PRIVATE),
        shared_with=tuple(message.shared_with),
        state=STATES.get(message.state, State.PUBLISHED),
        reason=message.reason,
        canary_of=dict(message.canary_of),
    )


def published(message: pb.PublishResponse) -> Published:
    return Published(adapter=adapter(message.adapter), created=message.created)


def transition(message: pb.Transition) -> Transition:
    return Transition(message.generation, STATES[message.state], message.reason, message.at)


def change(message: pb.AliasChange) -> AliasChange:
    target = Target(message.generation, message.canary, message.canary_percent) if message.generation else None
    return AliasChange(target, message.changed_at)


def tier(number: int) -> Tier:
    return Tier.HOST if number == pb.TIER_HOST else Tier.GPU


def pin(message: pb.Pin) -> Pin:
    return Pin(
        tenant=message.tenant,
        name=message.name,
        version=message.version,
        tier=tier(message.tier),
        engines=message.engines,
        held=message.held,
    )


def engine(message: pb.Engine) -> Engine:
    return Engine(
        engine_id=message.engine_id,
        address=message.address,
        model=message.model,
        draining=message.draining,
        stalled=message.stalled,
        started_at=message.started_at,
        slots=message.slots,
        free_slots=message.free_slots,
        host_bytes=message.host_bytes,
        host_bytes_free=message.host_bytes_free,
        residents=tuple(map(_resident, message.residents)),
    )


def _resident(message: pb.Resident) -> Resident:
    return Resident(
        digest=message.digest,
        tier=tier(message.tier),
        state=message.state,
        leases=message.leases,
        pinned=message.pinned,
        last_use=message.last_use,
    )
