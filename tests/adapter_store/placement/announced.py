"""Model engines as Redis shows them, obeying what is on their command streams."""

import json
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from chorus_adapter_store.placement import keys
from chorus_adapter_store.placement.fleet import Command, Engine, Held, Verb
from chorus_adapter_store.values import Tier
from tests.adapter_store.placement.fleet_model import ModelEngine

SIZES = ("slots", "slots_free", "pool_bytes", "pool_bytes_free", "host_bytes", "host_bytes_free", "pin_bytes")


@dataclass
class AnnouncedEngine:
    redis: Redis
    engine: ModelEngine
    base_digest: str
    refusing: str = ""  # why
    term: int = 0
    obeyed: list[Command] = field(default_factory=list)
    terms: list[int] = field(default_factory=list)
    _last: str = "0-0"

    async def announce(self) -> None:
        report = self.engine.report()
        seconds, _ = await self.redis.time()
        await self.redis.zadd(keys.ENGINES, {report.engine_id: seconds * 1000})
        await self.redis.hset(keys.engine(report.engine_id), mapping=self._fields(report))
        await self.redis.expire(keys.engine(report.engine_id), 6)
        key = keys.residency(report.engine_id)
        await self.redis.delete(key)
        if report.held:
            await self.redis.hset(key, mapping={digest: record(held) for digest, held in report.held.items()})

    async def obey(self, size: int = 2) -> list[Command]:
        """What has come since, done or refused; every adapter has this size."""
        key = keys.commands(self.engine.name)
        came = []
        entries: Any = await self.redis.xrange(key, f"({self._last}", "+")
        for entry_id, fields in entries:
            self._last = entry_id
            command = Command(self.engine.name, Verb(fields["command"]), fields["digest"], Tier(fields["tier"]))
            came.append(command)
            await self._answer(entry_id, command, int(fields["term"]), size)
        self.obeyed += came
        await self.announce()
        return came

    async def _answer(self, entry_id: str, command: Command, term: int, size: int) -> None:
        reason = self.refusing or ("an earlier term" if term < self.term else "")
        if not reason:
            self.term = term
            self.terms.append(term)
            self.engine.apply(command, size, {})
        status = "refused" if reason else "done"
        fields: dict[Any, Any] = {"command_id": entry_id, "status": status, "reason": reason}
        await self.redis.xadd(keys.results(self.engine.name), fields)

    def _fields(self, report: Engine) -> dict[Any, Any]:
        return {
            "address": report.address,
            "model": report.model,
            "model_digest": self.base_digest,
            "started_at": f"{report.started_at:.3f}",
            "max_num_seqs": report.max_num_seqs,
            "max_lora_rank": report.max_lora_rank,
            "draining": int(report.draining),
            "stalled": int(report.stalled),
            "term": self.term,
            "pin_bytes_free": report.pin_bytes_free,
            **{name: getattr(report, name) for name in SIZES},
        }


def record(held: Held) -> str:
    fields = {"tier": held.tier, "state": held.state, "pages": 1, "bytes": held.bytes, "leases": held.leases}
    return json.dumps({**fields, "last_use": int(held.last_use * 1000), "pinned": held.pinned or ""})


async def ask(redis: Redis, base_digest: str, digest: str, in_flight: float) -> None:
    """Gateways' counts of this moment, as if it had been so for the last ten seconds."""
    seconds, _ = await redis.time()
    for bucket in range(seconds // keys.BUCKET_SECONDS - 1, seconds // keys.BUCKET_SECONDS + 1):
        key = keys.demand(base_digest, bucket)
        busy = int(in_flight * keys.BUCKET_SECONDS * 1000)
        await redis.hset(key, mapping={f"a:{digest}": 5, f"b:{digest}": busy})
        await redis.expire(key, 120)
