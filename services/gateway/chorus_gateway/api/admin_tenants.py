"""Tenants, their limits, and the limits of their use of adapters. For administrators."""

from typing import Annotated

from fastapi import APIRouter, Path

from chorus_gateway.api.admin_schemas import (
    AdapterLimitsList,
    AdapterLimitsView,
    NewTenant,
    TenantChange,
    TenantList,
    TenantView,
)
from chorus_gateway.api.dependencies import WRITES, PartsDep, authenticated
from chorus_gateway.api.error_schemas import ERRORS
from chorus_gateway.api.schemas_limits import UseLimitsBody
from chorus_gateway.errors import Conflict
from chorus_gateway.models.names import NAME
from chorus_gateway.values import Scope

ADAPTER_LIMITS = "/tenants/{tenant_id}/adapter-limits"
AdapterPart = Annotated[str, Path(pattern=f"^{NAME.pattern}$")]
router = APIRouter(
    prefix="/admin/v1",
    tags=["Tenants"],
    route_class=authenticated(Scope.ADMIN),
    responses=ERRORS,
)


@router.post("/tenants", status_code=201, summary="Create a tenant", dependencies=WRITES)
async def create_tenant(body: NewTenant, parts: PartsDep) -> TenantView:
    """409 when the id is taken, or was before."""
    return TenantView.of(await parts.tenants.create(body.to_tenant()))


@router.get("/tenants", summary="All tenants, by id")
async def list_tenants(parts: PartsDep) -> TenantList:
    return TenantList(data=[TenantView.of(record) for record in await parts.tenants.all()])


@router.get("/tenants/{tenant_id}", summary="One tenant")
async def get_tenant(tenant_id: str, parts: PartsDep) -> TenantView:
    return TenantView.of(await parts.tenants.get(tenant_id))


@router.patch("/tenants/{tenant_id}", summary="Change weight, limits or tiers, or suspend", dependencies=WRITES)
async def change_tenant(tenant_id: str, body: TenantChange, parts: PartsDep) -> TenantView:
    """Only what is given changes; a limit given as `null` is lifted. Every gateway follows within a second; what a
    suspended tenant has running ends as it would have."""
    record = await parts.tenants.update(tenant_id, body.columns())
    await parts.auth_events.tenant_changed(tenant_id)
    return TenantView.of(record)


@router.delete("/tenants/{tenant_id}", status_code=204, summary="Delete a tenant", dependencies=WRITES)
async def delete_tenant(tenant_id: str, parts: PartsDep) -> None:
    """For ever, and its id is not given out again. 409 while it has adapters, or a key that is good: nothing is taken
    from anybody by this."""
    await parts.tenants.get(tenant_id)
    adapters = await parts.adapters.list(tenant_id)
    if adapters:
        raise Conflict(
            f"The tenant '{tenant_id}' has adapters ({len(adapters)} generations, such as '{adapters[0].name}'): "
            "delete them first.",
            param="tenant",
        )
    await parts.tenants.remove(tenant_id)
    await parts.auth_events.tenant_changed(tenant_id)


@router.get(ADAPTER_LIMITS, summary="Limits of a tenant's use of single adapters")
async def list_adapter_limits(tenant_id: str, parts: PartsDep) -> AdapterLimitsList:
    """By owner and name; adapters without any are not named."""
    found = await parts.adapter_limits.all(tenant_id)
    return AdapterLimitsList(data=[AdapterLimitsView.of(record) for record in found])


@router.get(ADAPTER_LIMITS + "/{owner}/{name}", summary="Limits of a tenant's use of one adapter")
async def get_adapter_limits(
    tenant_id: str, owner: AdapterPart, name: AdapterPart, parts: PartsDep
) -> AdapterLimitsView:
    return AdapterLimitsView.of(await parts.adapter_limits.get(tenant_id, owner, name))


@router.put(ADAPTER_LIMITS + "/{owner}/{name}", summary="Limit a tenant's use of one adapter", dependencies=WRITES)
async def set_adapter_limits(
    tenant_id: str, owner: AdapterPart, name: AdapterPart, body: UseLimitsBody, parts: PartsDep
) -> AdapterLimitsView:
    """Beside its limits as a tenant. They replace what was, and hold for an adapter that is uploaded later."""
    record = await parts.adapter_limits.put(tenant_id, owner, name, body.to_limits())
    await parts.auth_events.terms_changed()
    return AdapterLimitsView.of(record)


@router.delete(
    ADAPTER_LIMITS + "/{owner}/{name}", status_code=204, summary="Lift an adapter's limits", dependencies=WRITES
)
async def remove_adapter_limits(tenant_id: str, owner: AdapterPart, name: AdapterPart, parts: PartsDep) -> None:
    await parts.adapter_limits.remove(tenant_id, owner, name)
    await parts.auth_events.terms_changed()
