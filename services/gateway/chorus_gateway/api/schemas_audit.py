"""Bodies of the admin API that are about the audit log."""

from typing import Any

from pydantic import BaseModel, Field

from chorus_gateway.api.schemas_limits import Listing
from chorus_gateway.audit import Entry, Verdict


class AuditEntryView(BaseModel):
    seq: int = Field(description="from 1 on, without gaps")
    at: float = Field(description="seconds since 1970, to the millisecond")
    actor: str = Field(description="the key's id")
    client: str = Field(description="the address that it came from")
    action: str
    object: str
    details: dict[str, Any]
    prev_hash: str
    hash: str

    @classmethod
    def of(cls, entry: Entry) -> "AuditEntryView":
        change = entry.change
        return cls(
            seq=entry.seq,
            at=change.at / 1000,
            actor=change.actor,
            client=change.client,
            action=change.action,
            object=change.object,
            details=entry.details,
            prev_hash=entry.prev_hash,
            hash=entry.hash,
        )


class AuditList(Listing):
    data: list[AuditEntryView]


class AuditVerdictView(BaseModel):
    ok: bool
    entries: int = Field(description="that were read and found good")
    seq: int | None = Field(description="the first entry that is not what was written")
    reason: str | None
    head: str = Field(description="number and hash of the last good entry; keep it elsewhere, and give it as `head`")
    unfinished: int = Field(description="changes that were begun and are not in the log yet")

    @classmethod
    def of(cls, verdict: Verdict, unfinished: int) -> "AuditVerdictView":
        return cls(
            ok=verdict.ok,
            entries=verdict.entries,
            seq=verdict.seq,
            reason=verdict.reason,
            head=f"{verdict.head.seq}:{verdict.head.hash}",
            unfinished=unfinished,
        )
