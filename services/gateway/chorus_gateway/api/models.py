"""GET /v1/models and /v1/models/{id}."""

from typing import Annotated, Literal, Protocol

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from chorus_gateway.api.dependencies import client_of
from chorus_gateway.api.error_schemas import ERRORS
from chorus_gateway.models import ModelCard
from chorus_gateway.pipeline import Authenticator, tenant_of
from chorus_gateway.values import Principal, ResolvedModel, Scope, Tenant


class Catalog(Protocol):
    async def resolve(
        self, tenant: Tenant, name: str, chooser: str = "", allowed: frozenset[str] | None = None
    ) -> ResolvedModel: ...

    async def list(self, tenant: Tenant, allowed: frozenset[str] | None = None) -> tuple[ModelCard, ...]: ...


class ModelView(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    root: str
    parent: str | None

    @classmethod
    def of(cls, card: ModelCard) -> "ModelView":
        return cls(id=card.id, created=card.created, owned_by=card.owned_by, root=card.id, parent=card.parent)


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelView]


def models_router(auth: Authenticator, models: Catalog) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["Models"], responses=ERRORS)

    async def principal(request: Request) -> Principal:
        return await auth.authenticate(request.headers.get("authorization"), Scope.INFER, client_of(request))

    Asking = Annotated[Principal, Depends(principal)]

    @router.get("/models", summary="Base models, one's own adapters, and others' that one may use")
    async def list_models(asking: Asking) -> ModelList:
        """Those alone that the key may use."""
        return ModelList(data=[ModelView.of(card) for card in await models.list(tenant_of(asking), asking.models)])

    @router.get("/models/{model:path}", summary="One model")
    async def retrieve_model(model: str, asking: Asking) -> ModelView:
        """Any name that completions take, versions and aliases too."""
        resolved = await models.resolve(tenant_of(asking), model, allowed=asking.models)
        base = resolved.base
        if resolved.adapter is None:
            return ModelView(id=model, created=base.created, owned_by="chorus", root=base.name, parent=None)
        return ModelView(id=model, created=base.created, owned_by=resolved.owner, root=base.name, parent=base.name)

    return router
