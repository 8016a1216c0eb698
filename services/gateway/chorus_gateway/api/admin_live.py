"""What goes on at this moment, for administrators."""

from typing import Annotated

from fastapi import APIRouter, Query

from chorus_gateway.api.dependencies import PartsDep, authenticated
from chorus_gateway.api.error_schemas import ERRORS
from chorus_gateway.api.live_schemas import LiveView
from chorus_gateway.live.snapshot import MOST_TENANTS
from chorus_gateway.values import Scope

router = APIRouter(prefix="/admin/v1", tags=["Fleet"], route_class=authenticated(Scope.ADMIN), responses=ERRORS)


@router.get("/live", summary="What engines and tenants do at this moment")
async def live(
    parts: PartsDep,
    limit: Annotated[int, Query(ge=0, le=MOST_TENANTS, description="most tenants that are named")] = 100,
) -> LiveView:
    """Of all gateway workers, each as it was within the last second."""
    return LiveView.of(await parts.live.read(), limit)
