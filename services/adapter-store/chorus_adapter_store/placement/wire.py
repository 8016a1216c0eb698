"""Commands to engines and what became of them, as Redis streams of each engine."""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from redis.asyncio import Redis

from chorus_adapter_store.placement import keys
from chorus_adapter_store.placement.fleet import Command, Result
from chorus_adapter_store.placement.ledger import PATIENCE
from chorus_adapter_store.placement.records import parse_result
from chorus_adapter_store.placement.situation import PinWish

_LONGEST = 1000  # commands of an engine that are kept, about
_COMMANDS_TTL = 60  # seconds
_AT_ONCE = 100  # results of an engine that are read
_PINS_TTL = 30  # seconds
_log = logging.getLogger(__name__)


class Wire:
    """Every method raises RedisError or OSError when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._read: dict[str, str] = {}  # by engine: the last result that was seen

    async def send(self, commands: Sequence[Command], term: int, now: float) -> list[str]:
        """Redis' names of them, by which results tell what they are of."""
        streams = {keys.commands(command.engine_id) for command in commands}
        async with self._redis.pipeline(transaction=False) as pipeline:
            for command in commands:
                fields: dict[Any, Any] = {
                    "command": command.verb.value,
                    "digest": command.digest,
                    "tier": command.tier.value,
                    "term": str(term),
                    "expires_at": str(int((now + PATIENCE) * 1000)),
                }
                pipeline.xadd(keys.commands(command.engine_id), fields, maxlen=_LONGEST, approximate=True)
            for stream in sorted(streams):  # the engine may be gone by now, and with it whoever would let it lapse
                pipeline.expire(stream, _COMMANDS_TTL)
            return [str(each) for each in (await pipeline.execute())[: len(commands)]]

    async def results(self, engine_ids: Iterable[str]) -> list[Result]:
        """Those that came since the last time."""
        known = sorted(engine_ids)
        self._read = {each: self._read.get(each, "0-0") for each in known}
        async with self._redis.pipeline(transaction=False) as pipeline:
            for each in known:
                pipeline.xrange(keys.results(each), f"({self._read[each]}", "+", count=_AT_ONCE)
            answers = await pipeline.execute() if known else []
        found = []
        for engine_id, entries in zip(known, answers, strict=True):
            for entry_id, fields in entries:
                self._read[engine_id] = str(entry_id)
                found += _result(engine_id, fields)
        return found

    async def show_pins(self, base_digest: str, pins: Iterable[PinWish]) -> None:
        """What the catalog's pins mean now, for whoever looks."""
        key = keys.pins(base_digest)
        fields: dict[Any, Any] = {
            each.file.digest: json.dumps({"tier": each.tier.value, "engines": each.engines}) for each in pins
        }
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.delete(key)
            if fields:
                pipeline.hset(key, mapping=fields)
                pipeline.expire(key, _PINS_TTL)
            await pipeline.execute()


def _result(engine_id: str, fields: Mapping[str, str]) -> list[Result]:
    try:
        return [parse_result(engine_id, fields)]
    except ValueError as error:
        _log.warning("engine %s answered what is no result: %s", ascii(engine_id), error)
        return []
