"""What the double of the adapter store decides by."""

from chorus_proto.adapters.v1 import adapters_pb2 as pb


def usable(adapter: pb.Adapter, tenant: str) -> bool:
    return tenant == adapter.tenant or tenant in adapter.shared_with or adapter.visibility == pb.VISIBILITY_PUBLIC


def named(adapter: pb.Adapter, tenant: str, name: str, generation: int) -> bool:
    return (adapter.tenant, adapter.name) == (tenant, name) and generation in (0, adapter.generation)


def same(one: pb.AliasChange, other: pb.AliasChange) -> bool:
    return (one.generation, one.canary, one.canary_percent) == (
        other.generation,
        other.canary,
        other.canary_percent,
    )
