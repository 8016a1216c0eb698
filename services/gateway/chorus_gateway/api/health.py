"""Whether the gateway lives, whether it can serve, and its metrics."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from chorus_gateway.errors import Unavailable
from chorus_gateway.telemetry.exposition import Exposition
from chorus_gateway.telemetry.metrics import CONTENT_TYPE

CHECK_SECONDS = 1.0


class Engines(Protocol):
    def ready(self) -> bool:
        """Whether at least one engine's session is open."""
        ...


@dataclass(slots=True)
class Readiness:
    """`draining` is set when the process is told to end: no new requests are wanted then."""

    ping_database: Callable[[], Awaitable[None]]
    engines: Engines
    draining: bool = field(default=False)

    async def reasons(self) -> dict[str, str]:
        """What stands in the way, by part; empty when the gateway can serve."""
        reasons: dict[str, str] = {}
        if self.draining:
            reasons["gateway"] = "is shutting down"
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self.ping_database()
        except (Unavailable, TimeoutError):
            reasons["database"] = "does not answer"
        if not self.engines.ready():
            reasons["engines"] = "no engine is connected"
        return reasons


def health_router(readiness: Readiness, exposition: Exposition) -> APIRouter:
    router = APIRouter(tags=["Operations"])

    @router.get("/healthz", summary="The process lives")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/readyz", summary="Requests can be served", responses={503: {"description": "Not now; says why."}})
    async def readyz() -> JSONResponse:
        """200 when the database answers and at least one engine is connected."""
        reasons = await readiness.reasons()
        status = "unavailable" if reasons else "ok"
        return JSONResponse({"status": status, "reasons": reasons}, 503 if reasons else 200)

    @router.get("/metrics", summary="Prometheus metrics", response_class=Response)
    async def render(_request: Request) -> Response:
        return Response(await exposition.render(), media_type=CONTENT_TYPE)

    return router
