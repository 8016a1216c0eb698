"""The routes of files and batches, before a database and no engine."""

from dataclasses import dataclass

import httpx
import pytest
from fastapi import FastAPI

from chorus_gateway.api.batches import batches_router
from chorus_gateway.api.errors import install_error_handlers
from chorus_gateway.api.files import files_router
from chorus_gateway.batches import BatchStore
from chorus_gateway.db import Database
from chorus_gateway.errors import Unauthenticated
from chorus_gateway.files import FileLimits, FileStore
from chorus_gateway.middleware import CatchFailures, RequestId
from chorus_gateway.values import Band, Principal, Scope, Tenant

LIMITS = FileLimits(file=2 << 20, tenant=3 << 20, count=5)
TENANTS = {
    "acme": Tenant("acme"),
    "other": Tenant("other"),
    "hasty": Tenant("hasty", bands=frozenset({Band.DEFAULT})),
}


class Keys:
    """A tenant's key is its name."""

    async def authenticate(self, authorization: str | None, scope: Scope, client: str | None = None) -> Principal:
        name = (authorization or "").removeprefix("Bearer ")
        if name not in (*TENANTS, "admin"):
            raise Unauthenticated("The API key is unknown: check it.", code="invalid_api_key")
        return Principal(f"key-of-{name}"[:12], frozenset({scope}), TENANTS.get(name))


@dataclass
class Desk:
    database: Database
    files: FileStore
    batches: BatchStore
    app: FastAPI
    woken: int = 0

    def http(self, tenant: str = "acme") -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        headers = {"authorization": f"Bearer {tenant}"} if tenant else {}
        return httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=headers)

    def wake(self) -> None:
        self.woken += 1


@pytest.fixture
async def desk(database: Database) -> Desk:
    return open_desk(database)


@pytest.fixture
async def any_desk(any_database: Database) -> Desk:
    return open_desk(any_database)


def open_desk(database: Database) -> Desk:
    app, files, batches = FastAPI(), FileStore(database, LIMITS), BatchStore(database)
    app.add_middleware(CatchFailures)
    app.add_middleware(RequestId)
    install_error_handlers(app)
    desk = Desk(database, files, batches, app)
    app.include_router(files_router(Keys(), files))
    app.include_router(batches_router(Keys(), batches, ("/v1/chat/completions", "/v1/completions"), desk.wake))
    return desk
