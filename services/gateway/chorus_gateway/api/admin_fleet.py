"""Where adapters come from and where they are: imports and pins. For administrators."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from chorus_gateway.api.adapter_schemas import AdapterView
from chorus_gateway.api.dependencies import WRITES, PartsDep, authenticated
from chorus_gateway.api.error_schemas import ERRORS
from chorus_gateway.api.fleet_schemas import (
    ImportBody,
    PinBody,
    PinList,
    PinView,
    Residency,
)
from chorus_gateway.telemetry.tracing import extract
from chorus_gateway.values import Scope

PIN = "/adapters/{tenant}/{name}/pin"
router = APIRouter(prefix="/admin/v1", route_class=authenticated(Scope.ADMIN), responses=ERRORS)


@router.post(
    "/adapters/import",
    status_code=201,
    tags=["Adapters"],
    summary="Import an adapter from a bucket",
    dependencies=WRITES,
    responses={200: {"model": AdapterView, "description": "These bytes were the latest generation already."}},
)
async def import_adapter(body: ImportBody, request: Request, response: Response, parts: PartsDep) -> AdapterView:
    """As an upload of the two files below `source`. Only buckets that the store was told of are read."""
    with parts.tracing.span("adapter.import", parent=extract(request.headers)):
        limits = (await parts.tenants.get(body.tenant)).tenant.limits
        published = await parts.adapters.import_from(body.source, body.to_header(), limits)
    parts.resolver.invalidate(body.tenant, body.name)
    response.status_code = 201 if published.created else 200
    return AdapterView.of(published.adapter)


@router.put(PIN, tags=["Fleet"], summary="Keep an adapter on engines", dependencies=WRITES)
async def set_pin(tenant: str, name: str, body: PinBody, parts: PartsDep) -> PinView:
    """Whatever its demand, until the pin is removed; engines have it within seconds. One pin a name: a second replaces
    the first. 409 when the pins would take more than engines may pin."""
    pin = await parts.adapters.fleet.set_pin(tenant, name, version=body.version, tier=body.tier, engines=body.engines)
    return PinView.of(pin)


@router.get(PIN, tags=["Fleet"], summary="An adapter's pin")
async def get_pin(tenant: str, name: str, parts: PartsDep) -> PinView:
    return PinView.of(await parts.adapters.fleet.pin(tenant, name))


@router.delete(PIN, status_code=204, tags=["Fleet"], summary="Remove an adapter's pin", dependencies=WRITES)
async def remove_pin(tenant: str, name: str, parts: PartsDep) -> None:
    """It stays where it is until something else needs the room."""
    await parts.adapters.fleet.remove_pin(tenant, name)


@router.get("/pins", tags=["Fleet"], summary="All pins, by owner and name")
async def list_pins(
    parts: PartsDep, tenant: Annotated[str, Query(description="empty is every tenant")] = ""
) -> PinList:
    return PinList(data=[PinView.of(pin) for pin in await parts.adapters.fleet.pins(tenant)])


@router.get("/adapters/{tenant}/{name}/residency", tags=["Fleet"], summary="Engines that hold an adapter")
async def adapter_residency(
    tenant: str,
    name: str,
    parts: PartsDep,
    generation: Annotated[
        int | None, Query(ge=1, le=2**32 - 1, description="absent is the one that `latest` points at")
    ] = None,
) -> Residency:
    if generation is None:
        adapter = (await parts.adapters.resolve(tenant, owner="", name=name, model="", version="")).adapter
    else:
        adapter = await parts.adapters.get(tenant, name, generation)
    return Residency.of(adapter, await parts.adapters.fleet.engines(adapter.digest))
