"""The price table, for administrators."""

from typing import Annotated

from fastapi import APIRouter, Query

from chorus_gateway.api.dependencies import WRITES, PartsDep, authenticated
from chorus_gateway.api.error_schemas import ERRORS
from chorus_gateway.api.schemas_prices import PriceBody, PricedAdapter, PricedModel, PriceList, PriceView
from chorus_gateway.values import Scope

router = APIRouter(prefix="/admin/v1/prices", tags=["Prices"], route_class=authenticated(Scope.ADMIN), responses=ERRORS)


@router.get("", summary="All prices, by model and adapter")
async def list_prices(parts: PartsDep) -> PriceList:
    """A model without a price costs nothing."""
    return PriceList(data=[PriceView.of(record) for record in await parts.prices.all()])


@router.put("", summary="Set a price", dependencies=WRITES)
async def set_price(body: PriceBody, parts: PartsDep) -> PriceView:
    """It replaces what was. Requests that begin a second later are charged by it; what was charged stays."""
    record = await parts.prices.put(body.model, body.adapter or "", body.to_price())
    await parts.auth_events.terms_changed()
    return PriceView.of(record)


@router.delete("", status_code=204, summary="Remove a price", dependencies=WRITES)
async def remove_price(
    parts: PartsDep,
    model: Annotated[PricedModel, Query()],
    adapter: Annotated[PricedAdapter | None, Query(description="absent is the base's own")] = None,
) -> None:
    """An adapter costs what its base does then, a base nothing."""
    await parts.prices.remove(model, adapter or "")
    await parts.auth_events.terms_changed()
