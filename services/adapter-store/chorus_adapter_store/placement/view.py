"""Reads what the placer decides by: engines, what they hold, and demand."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from redis.asyncio import Redis

from chorus_adapter_store.names import quote
from chorus_adapter_store.placement import keys
from chorus_adapter_store.placement.demand import Bucket, DemandWindow
from chorus_adapter_store.placement.fleet import Demand, Engine, Held
from chorus_adapter_store.placement.records import parse_count, parse_engine, parse_held

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sight:
    now: float  # seconds since 1970, by Redis' clock
    engines: tuple[Engine, ...]  # that are alive, by id


class View:
    """Every method raises RedisError or OSError when Redis is away. A record that is not as it should be is left out,
    with one log line until all are right again."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._windows: dict[str, DemandWindow] = {}  # by base
        self._strange = {"engines": False, "demand": False}

    async def engines(self) -> Sight:
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.time()
            pipeline.zrange(keys.ENGINES, 0, -1)
            pipeline.hgetall(keys.DRAINS)
            (seconds, microseconds), ids, orders = await pipeline.execute()
        known = sorted(str(each) for each in ids)
        async with self._redis.pipeline(transaction=False) as pipeline:
            for engine_id in known:
                pipeline.hgetall(keys.engine(engine_id))
                pipeline.hgetall(keys.residency(engine_id))
            answers = await pipeline.execute() if known else []
        drained = {engine_id for engine_id, order in orders.items() if order == "1"}
        found = self._parse(zip(known, answers[::2], answers[1::2], strict=True), drained)
        return Sight(int(seconds) + int(microseconds) / 1e6, found)

    async def demand(self, bases: Iterable[str], now: float) -> dict[str, dict[str, Demand]]:
        """By base, then by digest."""
        self._windows = {base: self._windows.get(base) or DemandWindow() for base in sorted(bases)}
        wanted = [(base, number) for base, window in self._windows.items() for number in window.wanted(now)]
        async with self._redis.pipeline(transaction=False) as pipeline:
            for base, number in wanted:
                pipeline.hgetall(keys.demand(base, number))
            answers = await pipeline.execute() if wanted else []
        errors: list[str] = []
        for (base, number), fields in zip(wanted, answers, strict=True):
            self._windows[base].put(number, _bucket(fields, errors))
        self._note("demand", errors)
        return {base: window.demand(now) for base, window in self._windows.items()}

    def _parse(
        self, records: Iterable[tuple[str, Mapping[str, str], Mapping[str, str]]], drained: Collection[str]
    ) -> tuple[Engine, ...]:
        found: list[Engine] = []
        errors: list[str] = []
        for engine_id, fields, residency in records:
            if not fields:  # it lapses when the heartbeat stops
                continue
            held = _held(engine_id, residency, errors)
            try:
                found.append(parse_engine(engine_id, fields, held, drained=engine_id in drained))
            except ValueError as error:
                errors.append(f"engine {quote(engine_id)}: {error}")
        self._note("engines", errors)
        return tuple(found)

    def _note(self, what: str, errors: Sequence[str]) -> None:
        if errors and not self._strange[what]:
            _log.warning("%d records in Redis are left out: they are not as they should be, %s", len(errors), errors[0])
        self._strange[what] = bool(errors)


def _held(engine_id: str, residency: Mapping[str, str], errors: list[str]) -> dict[str, Held]:
    held: dict[str, Held] = {}
    for digest, text in sorted(residency.items()):
        try:
            held[digest] = parse_held(digest, text)
        except ValueError as error:
            errors.append(f"engine {quote(engine_id)}, adapter {quote(digest)}: {error}")
    return held


def _bucket(fields: Mapping[str, str], errors: list[str]) -> Bucket:
    counts: dict[str, dict[str, int]] = {"a": {}, "b": {}}
    for name, value in fields.items():
        try:
            kind, digest, count = parse_count(name, value)
        except ValueError as error:
            errors.append(f"demand {quote(name)}: {error}")
        else:
            counts[kind][digest] = count
    return Bucket(counts["a"], counts["b"])
