"""Redis' hashes to values. Every parser raises ValueError for what is not as the engines' records are."""

import json
import math
from collections.abc import Mapping

from chorus_adapter_store.placement.fleet import Engine, Held, Result
from chorus_adapter_store.values import Tier

_STATES = frozenset({"loading", "ready", "draining"})
_STATUSES = frozenset({"done", "refused", "failed"})
_SIZES = (
    "max_num_seqs",
    "max_lora_rank",
    "slots",
    "slots_free",
    "pool_bytes",
    "pool_bytes_free",
    "host_bytes",
    "host_bytes_free",
    "pin_bytes",
    "pin_bytes_free",
    "term",
)
_LARGEST = 2**63 - 1


def parse_engine(
    engine_id: str, fields: Mapping[str, str], held: Mapping[str, Held], *, drained: bool = False
) -> Engine:
    """Sizes that are missing are 0: an engine of an older version does not say them. drained: by an order."""
    address, model, digest = (fields.get(name, "") for name in ("address", "model", "model_digest"))
    if not (address and model and digest):
        raise ValueError("address, model or model_digest is missing")
    sizes = {name: _size(fields.get(name, "0")) for name in _SIZES}
    outer = fields.get("outer_modules")
    return Engine(
        engine_id=engine_id,
        address=address,
        model=model,
        base_digest=digest,
        started_at=_time(fields.get("started_at", "0")),
        outer_modules=None if outer is None else frozenset(outer.split()),
        draining=_flag(fields.get("draining", "0")),
        drained=drained,
        stalled=_flag(fields.get("stalled", "0")),
        held=held,
        **sizes,
    )


def parse_held(digest: str, text: str) -> Held:
    try:
        fields = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(fields, dict):
        raise ValueError("not an object")
    state, pinned = fields.get("state"), fields.get("pinned", "")
    if state not in _STATES:
        raise ValueError(f"state is {state!r}")
    return Held(
        digest=digest,
        tier=Tier(str(fields.get("tier"))),
        state=state,
        bytes=_size(fields.get("bytes", 0)),
        leases=_size(fields.get("leases", 0)),
        last_use=_size(fields.get("last_use", 0)) / 1000,
        pinned=Tier(str(pinned)) if pinned else None,
    )


def parse_count(name: str, value: str) -> tuple[str, str, int]:
    """A field of a demand bucket: what is counted ("a", requests that arrived; "b", milliseconds of requests in flight)
    for which digest, and the count."""
    kind, _, digest = name.partition(":")
    if kind not in ("a", "b") or not digest:
        raise ValueError(f"{name!r} counts nothing that is known")
    return kind, digest, _size(value)


def parse_result(engine_id: str, fields: Mapping[str, str]) -> Result:
    status = fields.get("status", "")
    if status not in _STATUSES:
        raise ValueError(f"status is {status!r}")
    return Result(engine_id, fields.get("command_id", ""), status, fields.get("reason", ""))


def _size(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{value!r} is no number")
    if not 0 <= (size := int(value)) <= _LARGEST:
        raise ValueError(f"{value!r} is out of range")
    return size


def _time(value: str) -> float:
    if not math.isfinite(time := float(value)):
        raise ValueError(f"{value!r} is no time")
    return time


def _flag(value: str) -> bool:
    if value not in ("0", "1"):
        raise ValueError(f"{value!r} is neither 0 nor 1")
    return value == "1"
