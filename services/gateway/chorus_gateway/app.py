"""The HTTP application, from parts that main composed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI, Security
from fastapi.routing import APIRoute
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from chorus_gateway.api import (
    admin_adapters,
    admin_audit,
    admin_engines,
    admin_files,
    admin_fleet,
    admin_keys,
    admin_live,
    admin_prices,
    admin_tenants,
    files,
)
from chorus_gateway.api.dependencies import Parts, bearer
from chorus_gateway.api.direct import DirectRoute, DirectRoutes
from chorus_gateway.api.errors import install_error_handlers
from chorus_gateway.api.health import health_router
from chorus_gateway.middleware import AccessMetrics, BodyLimit, CatchFailures, ClientAddress, RequestId

DESCRIPTION = """One base model, many LoRA adapters, behind OpenAI's API.

**Models** are named `base`, or `base@adapter[:version or alias]`. **Keys** go into `Authorization: Bearer …`: a
tenant's key asks models (scope `infer`) and may manage the tenant's adapters (scope `adapters`); an administrator's key
(scope `admin`) is for the routes under `/admin`. **Errors** always have the form
`{"error": {"message", "type", "param", "code"}}`.
"""
TAGS = [
    {"name": "Chat", "description": "Answers to conversations, as OpenAI's `/v1/chat/completions`."},
    {"name": "Responses", "description": "Answers in items, as OpenAI's `/v1/responses`; nothing is kept."},
    {"name": "Completions", "description": "Continuations of text, as OpenAI's `/v1/completions`."},
    {"name": "Files", "description": "What batches read and write."},
    {"name": "Batches", "description": "Many requests, answered at flex priority within a day."},
    {"name": "Embeddings", "description": "Texts as vectors, as OpenAI's `/v1/embeddings`."},
    {"name": "Tokens", "description": "What a model makes of a text, and back."},
    {"name": "Models", "description": "Base models, and the adapters that the tenant may use."},
    {"name": "Adapters", "description": "Upload, versions, aliases, sharing, and what becomes of them."},
    {"name": "Fleet", "description": "Which engines hold which adapters, and pins that keep them there."},
    {"name": "Tenants", "description": "Tenants, their share and their limits."},
    {"name": "Keys", "description": "API keys; shown once, when they are made."},
    {"name": "Prices", "description": "What tokens cost."},
    {"name": "Usage", "description": "What was used, and what it cost."},
    {"name": "Audit", "description": "Who changed what."},
    {"name": "Operations", "description": "Health and metrics; no key needed."},
]

FORM_BYTES = 64 << 10  # of an upload beside its file
FEW_BYTES = 256 << 10  # of requests that carry no prompts, which are read on the event loop


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """In bytes."""

    default: int  # of a request with prompts
    upload: int  # of an adapter
    file: int = 200 << 20  # of a batch


class Application(FastAPI):
    """What surrounds every request stands outside of FastAPI, whose own layers requests for text then go past."""

    def __init__(self, surround: Callable[[ASGIApp], ASGIApp], **options: Any) -> None:
        super().__init__(**options)
        self._surrounded = surround(super().__call__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._surrounded(scope, receive, send)


def create_app(parts: Parts, limits: BodyLimits, routers: Sequence[APIRouter] = ()) -> FastAPI:
    """`routers` are the tenants' routes under /v1."""

    def surround(app: ASGIApp) -> ASGIApp:
        routes = [route for router in routers for route in router.routes]
        app = DirectRoutes(app, routes, parts.authenticator)
        own = {route.path: limits.default for route in routes if isinstance(route, DirectRoute)}
        own |= {admin_adapters.UPLOAD_PATH: limits.upload, files.UPLOAD_PATH: limits.file + FORM_BYTES}
        app = BodyLimit(app, min(limits.default, FEW_BYTES), own)
        app = AccessMetrics(app, parts.metrics.http_requests_total)
        return RequestId(ClientAddress(app, parts.proxies))

    app = Application(
        surround,
        title="Chorus",
        version=version("chorus-gateway"),
        description=DESCRIPTION,
        openapi_tags=TAGS,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
        middleware=[Middleware(CatchFailures)],
    )
    app.state.parts = parts
    install_error_handlers(app)
    administration = (
        admin_adapters,
        admin_files,
        admin_fleet,
        admin_engines,
        admin_live,
        admin_tenants,
        admin_keys,
        admin_prices,
        admin_audit,
    )
    for router in (*routers, *(module.router for module in administration)):
        app.include_router(router, dependencies=[Security(bearer)])
    app.include_router(health_router(parts.readiness, parts.exposition))
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name
