"""What the audit log says of a change, and the hash that chains it to the one before."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GENESIS = "0" * 64  # what the first entry follows


@dataclass(frozen=True, slots=True)
class Change:
    at: int  # milliseconds since 1970, when it began
    actor: str  # the key's id
    client: str  # the address that it came from
    action: str  # such as "create_tenant"
    object: str  # such as "tenants/acme"
    details: str  # JSON, as it is stored and hashed


@dataclass(frozen=True, slots=True)
class Entry:
    seq: int  # from 1 on, without gaps
    change: Change
    prev_hash: str
    hash: str

    @classmethod
    def after(cls, seq: int, prev_hash: str, change: Change) -> "Entry":
        """The entry `seq`, which follows the one with `prev_hash`."""
        return cls(seq, change, prev_hash, chained(seq, prev_hash, change))

    @property
    def details(self) -> Any:
        return json.loads(self.change.details)


def chained(seq: int, prev_hash: str, change: Change) -> str:
    """SHA-256, in hex, over a JSON array in ASCII without spaces: previous hash, number, and the change's fields in
    their order, the details as the one string that they are stored as."""
    fields = [change.at, change.actor, change.client, change.action, change.object, change.details]
    return hashlib.sha256(compact([prev_hash, seq, *fields]).encode()).hexdigest()


def compact(value: Mapping[str, Any] | list[Any]) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)
