"""Adapters: upload, list, point aliases, delete. For administrators, and for a tenant's key with scope `adapters`."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, cast

from fastapi import APIRouter, Path, Query, Request, Response

from chorus_gateway.adapters import Page
from chorus_gateway.api.adapter_schemas import (
    AdapterList,
    AdapterView,
    AliasChangeView,
    AliasHistory,
    AliasTarget,
    Deleted,
    History,
    Reason,
    Restored,
    Retirement,
    TransitionView,
    VisibilityBody,
)
from chorus_gateway.api.dependencies import WRITES, PartsDep, PrincipalDep, authenticated
from chorus_gateway.api.error_schemas import ERRORS
from chorus_gateway.api.multipart import Event, boundary_of, read_parts
from chorus_gateway.api.upload import AdapterForm
from chorus_gateway.errors import PermissionDenied
from chorus_gateway.telemetry.tracing import extract
from chorus_gateway.values import Principal, Scope

PAGE_SIZE = 100  # where a page is asked for and no limit
UPLOAD_PATH = "/admin/v1/adapters"
FORM: dict[str, Any] = {
    "type": "object",
    "required": ["tenant", "name", "model", "adapter_config", "adapter_model"],
    "properties": {
        "tenant": {"type": "string", "description": "whose adapter it is"},
        "name": {"type": "string", "description": "1 to 64 of a-z 0-9 . _ -"},
        "model": {"type": "string", "description": "the base model that it was trained on"},
        "adapter_config": {"type": "string", "format": "binary", "description": "adapter_config.json"},
        "adapter_model": {"type": "string", "format": "binary", "description": "adapter_model.safetensors"},
    },
}
router = APIRouter(prefix=UPLOAD_PATH, tags=["Adapters"], route_class=authenticated(Scope.ADAPTERS), responses=ERRORS)


@router.post(
    "",
    status_code=201,
    summary="Upload an adapter",
    dependencies=WRITES,
    responses={200: {"model": AdapterView, "description": "These bytes were the latest generation already."}},
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": FORM}}}},
)
async def upload_adapter(request: Request, response: Response, parts: PartsDep, principal: PrincipalDep) -> AdapterView:
    """Makes a new generation of the name, which `latest` then points at. The fields come before the files. The answer
    comes when the generation is durable; an upload that is refused or cut off leaves nothing behind."""
    boundary = boundary_of(request.headers.get("content-type", ""))
    events = cast("AsyncGenerator[Event, None]", read_parts(request.stream(), boundary))
    with parts.tracing.span("adapter.upload", parent=extract(request.headers)):
        async with aclosing(events):
            form = AdapterForm(events)
            header = await form.header()
            check_owner(principal, header.tenant)
            limits = (await parts.tenants.get(header.tenant)).tenant.limits
            published = await parts.adapters.publish(header, form.chunks(), limits)
    parts.resolver.invalidate(header.tenant, header.name)
    response.status_code = 201 if published.created else 200
    return AdapterView.of(published.adapter)


@router.get("", summary="Adapters, newest generation first under each name")
async def list_adapters(
    parts: PartsDep,
    principal: PrincipalDep,
    tenant: Annotated[str, Query(description="empty is every tenant")] = "",
    deleted: Annotated[bool, Query(description="those too that are deleted and can be restored")] = False,
    limit: Annotated[int | None, Query(ge=1, le=1000, description="most of a page; absent is all at once")] = None,
    page: Annotated[str, Query(max_length=1024, description="the `next_page` of the page before")] = "",
) -> AdapterList:
    """A tenant's key sees its own tenant's alone. A page may be shorter than its limit."""
    if principal.tenant is not None:
        tenant = tenant or principal.tenant.id
    check_owner(principal, tenant)
    if limit is None and not page:
        found = Page(await parts.adapters.list(tenant, deleted=deleted), "")
    else:
        found = await parts.adapters.page(tenant, deleted=deleted, token=page, size=limit or PAGE_SIZE)
    return AdapterList(data=[AdapterView.of(adapter) for adapter in found.adapters], next_page=found.next or None)


@router.put("/{tenant}/{name}/aliases/{alias}", summary="Point an alias at a generation", dependencies=WRITES)
async def set_alias(
    tenant: str, name: str, alias: str, body: AliasTarget, parts: PartsDep, principal: PrincipalDep
) -> AdapterView:
    """Or at two: the canary gets its share of the requests, chosen by a hash of the alias and the request's `user`,
    else of the request's id. Pointing it at the canary alone promotes it. New requests follow within a second, running
    ones finish on what they began with."""
    check_owner(principal, tenant)
    adapter = await parts.adapters.aliases.set(tenant, name, alias, body.to_target())
    parts.resolver.invalidate(tenant, name)
    return AdapterView.of(adapter)


@router.post("/{tenant}/{name}/aliases/{alias}/rollback", summary="Undo an alias's last change", dependencies=WRITES)
async def rollback_alias(tenant: str, name: str, alias: str, parts: PartsDep, principal: PrincipalDep) -> AdapterView:
    """Points the alias at what it pointed at before. A second rollback undoes the first."""
    check_owner(principal, tenant)
    adapter = await parts.adapters.aliases.rollback(tenant, name, alias)
    parts.resolver.invalidate(tenant, name)
    return AdapterView.of(adapter)


@router.get("/{tenant}/{name}/aliases/{alias}", summary="What an alias points at, and has pointed at")
async def alias_history(tenant: str, name: str, alias: str, parts: PartsDep, principal: PrincipalDep) -> AliasHistory:
    """Its last 100 changes."""
    check_owner(principal, tenant)
    changes = await parts.adapters.aliases.changes(tenant, name, alias)
    return AliasHistory(data=[AliasChangeView.of(change) for change in changes])


@router.delete("/{tenant}/{name}/aliases/{alias}", status_code=204, summary="Remove an alias", dependencies=WRITES)
async def remove_alias(tenant: str, name: str, alias: str, parts: PartsDep, principal: PrincipalDep) -> None:
    check_owner(principal, tenant)
    await parts.adapters.aliases.remove(tenant, name, alias)
    parts.resolver.invalidate(tenant, name)


@router.put("/{tenant}/{name}/visibility", summary="Say who else may use an adapter", dependencies=WRITES)
async def set_visibility(
    tenant: str, name: str, body: VisibilityBody, parts: PartsDep, principal: PrincipalDep
) -> AdapterView:
    """Of every generation. Tenants that may use it name it `base@owner/name`; for all others it is as if it did not
    exist. A withdrawal reaches new requests within a second, running ones finish."""
    check_owner(principal, tenant)
    adapter = await parts.adapters.set_visibility(tenant, name, body.visibility, body.shared_with)
    parts.resolver.invalidate(tenant, name)
    return AdapterView.of(adapter)


@router.delete("/{tenant}/{name}", summary="Delete an adapter, or one generation of it", dependencies=WRITES)
async def delete_adapter(
    tenant: str,
    name: str,
    parts: PartsDep,
    principal: PrincipalDep,
    generation: Annotated[int | None, Query(ge=1, le=2**32 - 1, description="absent is every generation")] = None,
    reason: Reason = "",
) -> Deleted:
    """Requests that already run on it finish. It can be restored until its grace period ends. 409 while an alias other
    than `latest` points at the one generation."""
    check_owner(principal, tenant)
    deleted = await parts.adapters.delete(tenant, name, generation or 0, reason)
    parts.resolver.invalidate(tenant, name)
    return Deleted(deleted=deleted)


@router.post("/{tenant}/{name}/restore", summary="Bring back what was deleted or retired", dependencies=WRITES)
async def restore_adapter(
    tenant: str,
    name: str,
    parts: PartsDep,
    principal: PrincipalDep,
    generation: Annotated[
        int | None, Query(ge=1, le=2**32 - 1, description="absent is every deleted generation")
    ] = None,
) -> Restored:
    """A deleted generation is what it was before, a retired one is published. Aliases that it lost are brought back by
    their rollback."""
    check_owner(principal, tenant)
    limits = (await parts.tenants.get(tenant)).tenant.limits
    restored = await parts.adapters.restore(tenant, name, generation or 0, limits)
    parts.resolver.invalidate(tenant, name)
    return Restored(restored=restored)


@router.post(
    "/{tenant}/{name}/generations/{generation}/retire", summary="Take a generation out of use", dependencies=WRITES
)
async def retire_adapter(
    tenant: str,
    name: str,
    generation: Annotated[int, Path(ge=1, le=2**32 - 1)],
    body: Retirement,
    parts: PartsDep,
    principal: PrincipalDep,
) -> AdapterView:
    """No new request may use it, running ones finish. 409 while an alias other than `latest` points at it."""
    check_owner(principal, tenant)
    retired = await parts.adapters.retire(tenant, name, generation, body.reason)
    parts.resolver.invalidate(tenant, name)
    return AdapterView.of(retired)


@router.get("/{tenant}/{name}/history", summary="What became of a name's uploads and generations")
async def adapter_history(tenant: str, name: str, parts: PartsDep, principal: PrincipalDep) -> History:
    """The last 100 changes of the last 90 days; uploads that were refused too, with the reason."""
    check_owner(principal, tenant)
    found = await parts.adapters.history(tenant, name)
    return History(data=[TransitionView.of(transition) for transition in found])


def check_owner(principal: Principal, tenant: str) -> None:
    """PermissionDenied unless the key is an administrator's or the tenant's own."""
    if principal.tenant is not None and principal.tenant.id != tenant:
        raise PermissionDenied(
            f"Your API key may manage the adapters of tenant '{principal.tenant.id}' only.",
            param="tenant",
            code="permission_denied",
        )
