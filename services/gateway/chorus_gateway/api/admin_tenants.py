"""Tenants, their limits and their keys, for administrators."""

import logging

from fastapi import APIRouter

from chorus_gateway.api.admin_schemas import (
    CreatedKey,
    KeyList,
    KeyView,
    NewKey,
    NewTenant,
    TenantChange,
    TenantList,
    TenantView,
)
from chorus_gateway.api.dependencies import WRITES, PartsDep, authenticated
from chorus_gateway.api.error_schemas import ERRORS
from chorus_gateway.values import Scope

log = logging.getLogger(__name__)

router = APIRouter(
    prefix="/admin/v1",
    route_class=authenticated(Scope.ADMIN),
    responses=ERRORS,
)


@router.post("/tenants", status_code=201, tags=["Tenants"], summary="Create a tenant", dependencies=WRITES)
async def create_tenant(body: NewTenant, parts: PartsDep) -> TenantView:
    """409 when the id is taken."""
    return TenantView.of(await parts.tenants.create(body.to_tenant()))


@router.get("/tenants", tags=["Tenants"], summary="All tenants, by id")
async def list_tenants(parts: PartsDep) -> TenantList:
    return TenantList(data=[TenantView.of(record) for record in await parts.tenants.all()])


@router.get("/tenants/{tenant_id}", tags=["Tenants"], summary="One tenant")
async def get_tenant(tenant_id: str, parts: PartsDep) -> TenantView:
    return TenantView.of(await parts.tenants.get(tenant_id))


@router.patch("/tenants/{tenant_id}", tags=["Tenants"], summary="Change weight or limits", dependencies=WRITES)
async def change_tenant(tenant_id: str, body: TenantChange, parts: PartsDep) -> TenantView:
    """Only what is given changes; a limit given as `null` is lifted. Every gateway follows within a second."""
    record = await parts.tenants.update(tenant_id, body.columns())
    await parts.auth_events.tenant_changed(tenant_id)
    return TenantView.of(record)


@router.post("/tenants/{tenant_id}/keys", status_code=201, tags=["Keys"], summary="Create a key", dependencies=WRITES)
async def create_key(tenant_id: str, body: NewKey, parts: PartsDep) -> CreatedKey:
    """The answer is the only place where the key itself is ever shown."""
    key, info = await parts.keys.create(
        tenant_id, scopes=map(Scope, body.scopes), name=body.name, expires_in=body.expires_in
    )
    log.info("key created", extra={"key_id": key.id, "tenant": tenant_id})
    return CreatedKey.with_key(info, key.text)


@router.get("/tenants/{tenant_id}/keys", tags=["Keys"], summary="A tenant's keys, oldest first")
async def list_keys(tenant_id: str, parts: PartsDep) -> KeyList:
    return KeyList(data=[KeyView.of(info) for info in await parts.keys.of_tenant(tenant_id)])


@router.delete("/keys/{key_id}", tags=["Keys"], summary="Revoke a key", dependencies=WRITES)
async def revoke_key(key_id: str, parts: PartsDep) -> KeyView:
    """It is refused everywhere within a second. Revoking it again changes nothing."""
    info = await parts.keys.revoke(key_id)
    await parts.auth_events.key_changed(key_id)
    log.info("key revoked", extra={"key_id": key_id})
    return KeyView.of(info)
