"""The audit log, for administrators to read. Nothing here writes it: `api.auditing` does, around every change."""

from typing import Annotated

from fastapi import APIRouter, Query

from chorus_gateway.api.dependencies import PartsDep, authenticated
from chorus_gateway.api.error_schemas import ERRORS
from chorus_gateway.api.schemas_audit import AuditEntryView, AuditList, AuditVerdictView
from chorus_gateway.audit import Head
from chorus_gateway.values import Scope

router = APIRouter(prefix="/admin/v1/audit", tags=["Audit"], route_class=authenticated(Scope.ADMIN), responses=ERRORS)
HEAD = r"^[0-9]{1,18}:[0-9a-f]{64}$"


@router.get("", summary="Who changed what, in order")
async def list_audit(
    parts: PartsDep,
    since: Annotated[int, Query(ge=0, le=2**62, description="the first entry's number")] = 1,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    actor: Annotated[str, Query(pattern="^[0-9A-Za-z]{0,64}$", description="a key's id; empty is everybody")] = "",
) -> AuditList:
    """Changes by administrators, and by tenants of their adapters. `details` has what was asked for and what it made,
    never a secret; `"outcome": "unknown"` in it says that nobody knows whether the change was made."""
    entries = await parts.audit.entries(since=since, limit=limit, actor=actor)
    return AuditList(data=[AuditEntryView.of(entry) for entry in entries])


@router.get("/verify", summary="Whether the audit log is what was written")
async def verify_audit(
    parts: PartsDep,
    head: Annotated[
        str | None, Query(pattern=HEAD, description="as an earlier answer had it: up to there nothing may be missing")
    ] = None,
) -> AuditVerdictView:
    """Reads the whole log. Without `head` it cannot see that the last entries were cut off."""
    known = None
    if head is not None:
        seq, _, digest = head.partition(":")
        known = Head(int(seq), digest)
    return AuditVerdictView.of(await parts.audit.verify(known), await parts.audit.unfinished())
