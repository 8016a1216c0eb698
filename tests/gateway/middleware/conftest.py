from collections.abc import AsyncIterator

import pytest
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from redis.asyncio import Redis

from chorus_gateway.api.error_schemas import ERRORS
from chorus_gateway.db import Database
from chorus_gateway.errors import Overloaded, QuotaExceeded, RateLimited
from tests.gateway.support.door import Door, open_door


class Inner(BaseModel):
    size: int = Field(le=10)


class Body(BaseModel):
    name: str
    items: list[Inner] = []


def routes() -> APIRouter:
    router = APIRouter(prefix="/test", tags=["Test"], responses=ERRORS)

    @router.post("/json")
    async def take_json(body: Body) -> dict[str, int]:
        return {"items": len(body.items)}

    @router.post("/raw")
    async def take_raw(request: Request) -> dict[str, int]:
        return {"bytes": len(await request.body())}

    @router.get("/boom/{name}")
    async def boom(name: str) -> None:
        raise RuntimeError("a secret of the inside")

    @router.get("/limited")
    async def limited() -> None:
        raise RateLimited("wait", retry_after=1.25, headers={"x-ratelimit-remaining-tokens": "0"})

    @router.get("/spent")
    async def spent() -> None:
        raise QuotaExceeded("spent", code="insufficient_quota")

    @router.get("/full")
    async def full() -> None:
        raise Overloaded("full", retry_after=3)

    @router.get("/who")
    async def who(request: Request) -> dict[str, str]:
        return {"request_id": request.state.request_id}

    return router


@pytest.fixture
async def door(database: Database, redis: Redis) -> AsyncIterator[Door]:
    async with open_door(database, redis, "127.0.0.1:1", model="base", routers=(routes(),)) as door:
        yield door
