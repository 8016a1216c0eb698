"""Engines: those that are alive, and which of them get no new requests. For administrators."""

import logging
from collections.abc import Awaitable
from typing import TypeVar

from fastapi import APIRouter
from redis.exceptions import RedisError

from chorus_gateway.api.dependencies import PartsDep, authenticated
from chorus_gateway.api.error_schemas import ERRORS
from chorus_gateway.api.fleet_schemas import EngineList, EngineView
from chorus_gateway.errors import NotFound, Unavailable
from chorus_gateway.values import Scope

T = TypeVar("T")
DRAIN = "/engines/{engine_id}/drain"
log = logging.getLogger(__name__)
router = APIRouter(prefix="/admin/v1", tags=["Fleet"], route_class=authenticated(Scope.ADMIN), responses=ERRORS)


@router.get("/engines", summary="Engines that are alive, and how full they are")
async def list_engines(parts: PartsDep) -> EngineList:
    """As they say of themselves in Redis, at most some seconds ago."""
    engines = await parts.adapters.fleet.engines()
    found = await _told(parts.interventions.of([engine.engine_id for engine in engines]))
    return EngineList(data=[EngineView.of(engine, found[engine.engine_id]) for engine in engines])


@router.post(DRAIN, status_code=204, summary="Send an engine nothing more")
async def drain_engine(engine_id: str, parts: PartsDep) -> None:
    """Every gateway obeys within a second; what runs there goes on to its end. It stays so until the order is undone
    or the engine's process ends: the next one has another id."""
    if not await _told(parts.interventions.alive(engine_id)):
        raise NotFound(f"No engine '{engine_id}' is alive: GET /admin/v1/engines lists those that are.")
    await _told(parts.interventions.order(engine_id, drained=True))
    log.info("engine ordered to drain", extra={"engine": engine_id})


@router.delete(DRAIN, status_code=204, summary="Send an engine requests again")
async def undrain_engine(engine_id: str, parts: PartsDep) -> None:
    """Nothing, where it was not drained by an order. An engine that drains by itself, as it ends, goes on."""
    await _told(parts.interventions.order(engine_id, drained=False))
    log.info("engine ordered not to drain", extra={"engine": engine_id})


async def _told(asked: Awaitable[T]) -> T:
    try:
        return await asked
    except (RedisError, OSError) as error:
        raise Unavailable("Redis, where orders to engines are kept, does not answer; try again in a moment.") from error
