"""Engines as a store sees them: told to its double, or written to Redis as engines write themselves."""

import json
from collections.abc import Sequence
from typing import Any

from chorus_gateway.adapters import Engine, Resident, Tier
from chorus_proto.adapters.v1 import adapters_pb2 as pb
from tests.adapter_store.support import BASE
from tests.gateway.support.fake_store import FakeStore
from tests.gateway.support.redis_server import redis_client

TIERS = {Tier.HOST: pb.TIER_HOST, Tier.GPU: pb.TIER_GPU}


def tell(store: FakeStore, engines: Sequence[Engine]) -> None:
    store.engines = [
        pb.Engine(
            engine_id=engine.engine_id,
            address=engine.address,
            model=engine.model,
            draining=engine.draining,
            stalled=engine.stalled,
            started_at=engine.started_at,
            slots=engine.slots,
            free_slots=engine.free_slots,
            host_bytes=engine.host_bytes,
            host_bytes_free=engine.host_bytes_free,
            residents=[
                pb.Resident(
                    digest=held.digest,
                    tier=TIERS[held.tier],
                    state=held.state,
                    leases=held.leases,
                    pinned=held.pinned,
                    last_use=held.last_use,
                )
                for held in engine.residents
            ],
        )
        for engine in engines
    ]


async def register(redis_url: str, engines: Sequence[Engine]) -> None:
    """In place of all that are there."""
    async with redis_client(redis_url) as redis:
        known = [str(each) for each in await redis.zrange("chorus:engines", 0, -1)]
        for engine_id in known:
            await redis.delete(f"chorus:engine:{{{engine_id}}}", f"chorus:engine:{{{engine_id}}}:residency")
        await redis.delete("chorus:engines")
        seconds, _ = await redis.time()
        for engine in engines:
            key = f"chorus:engine:{{{engine.engine_id}}}"
            await redis.hset(key, mapping=_fields(engine))
            if engine.residents:
                await redis.hset(f"{key}:residency", mapping={held.digest: _held(held) for held in engine.residents})
            await redis.zadd("chorus:engines", {engine.engine_id: seconds * 1000})


def _fields(engine: Engine) -> dict[Any, Any]:
    return {
        "address": engine.address,
        "model": engine.model,
        "model_digest": BASE.digest,
        "started_at": f"{engine.started_at:.3f}",
        "max_num_seqs": 8,
        "max_lora_rank": 64,
        "draining": int(engine.draining),
        "stalled": int(engine.stalled),
        "slots": engine.slots,
        "slots_free": engine.free_slots,
        "host_bytes": engine.host_bytes,
        "host_bytes_free": engine.host_bytes_free,
    }


def _held(held: Resident) -> str:
    return json.dumps(
        {
            "tier": held.tier,
            "state": held.state,
            "pages": 1,
            "bytes": 100,
            "leases": held.leases,
            "last_use": int(held.last_use * 1000),
            "pinned": held.tier if held.pinned else "",
        }
    )
