"""/v1/batches: many requests, answered at flex priority within a day."""

from collections.abc import Callable, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from chorus_gateway.api.error_schemas import ERRORS
from chorus_gateway.api.schemas_batches import BatchList, BatchRequest, BatchView
from chorus_gateway.api.tenant_routes import asking_tenant
from chorus_gateway.batches import BatchStore
from chorus_gateway.errors import InvalidRequest, PermissionDenied
from chorus_gateway.pipeline import Authenticator, tenant_of
from chorus_gateway.values import Band, Principal, Tenant


def batches_router(
    auth: Authenticator, batches: BatchStore, endpoints: Sequence[str], wake: Callable[[], None]
) -> APIRouter:
    """`endpoints` that lines may ask; `wake` says that there is a new batch."""
    router = APIRouter(prefix="/v1/batches", tags=["Batches"], responses=ERRORS)
    Asking = Annotated[Principal, Depends(asking_tenant(auth))]

    @router.post("", summary="Have a file's requests answered", response_model_exclude_none=True)
    async def create_batch(body: BatchRequest, asking: Asking) -> BatchView:
        """Its lines are asked with the key that makes it, and count as the tenant's other requests do."""
        tenant = tenant_of(asking)
        _check(body, endpoints, tenant)
        batch = await batches.create(tenant.id, asking.key_id, body.to_batch())
        wake()
        return BatchView.of(batch)

    @router.get("", summary="Batches, newest first", response_model_exclude_none=True)
    async def list_batches(
        asking: Asking,
        after: Annotated[str | None, Query(max_length=64, description="the last id of the page before")] = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
    ) -> BatchList:
        return BatchList.of(await batches.page(tenant_of(asking).id, after=after, limit=limit))

    @router.get("/{batch_id}", summary="One batch", response_model_exclude_none=True)
    async def retrieve_batch(batch_id: str, asking: Asking) -> BatchView:
        return BatchView.of(await batches.get(tenant_of(asking).id, batch_id))

    @router.post("/{batch_id}/cancel", summary="Cancel a batch", response_model_exclude_none=True)
    async def cancel_batch(batch_id: str, asking: Asking) -> BatchView:
        """What is answered by then is in its output; every other line is in its errors. 409 where it is over."""
        return BatchView.of(await batches.cancel(tenant_of(asking).id, batch_id))

    return router


def _check(body: BatchRequest, endpoints: Sequence[str], tenant: Tenant) -> None:
    if body.endpoint not in endpoints:
        names = ", ".join(f"'{endpoint}'" for endpoint in endpoints)
        raise InvalidRequest(f"endpoint: '{body.endpoint}' is not one of {names}.", param="endpoint")
    if Band.FLEX not in tenant.bands:
        raise PermissionDenied(
            "Batches run in the service tier 'flex', which your organization may not use; ask your administrator.",
            param="service_tier",
            code="service_tier_not_allowed",
        )
