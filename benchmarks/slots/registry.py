"""What Redis says of engines, for whoever measures."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Seen:
    """One engine's entry."""

    fields: dict[str, str]
    residents: dict[str, dict[str, Any]]  # by digest


def engines(redis: Any) -> dict[str, Seen]:
    """Those whose hash has not lapsed, by id."""
    found = {}
    for engine in redis.zrange("chorus:engines", 0, -1):
        fields = redis.hgetall(f"chorus:engine:{{{engine}}}")
        if fields:
            held = redis.hgetall(f"chorus:engine:{{{engine}}}:residency")
            found[engine] = Seen(fields, {digest: json.loads(record) for digest, record in held.items()})
    return found


def held_anywhere(redis: Any) -> set[str]:
    """Digests that some engine holds or fetches."""
    return {digest for seen in engines(redis).values() for digest in seen.residents}
