"""The whole application without engines: real database, real Redis, an adapter store over gRPC."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc.aio
import httpx
from fastapi import APIRouter, FastAPI
from opentelemetry.trace import TracerProvider
from redis.asyncio import Redis

from chorus_gateway.adapters import AdapterClient
from chorus_gateway.api.dependencies import Parts
from chorus_gateway.api.health import Readiness
from chorus_gateway.app import BodyLimits, create_app
from chorus_gateway.audit import AuditLog
from chorus_gateway.auth import (
    ApiKey,
    Authenticator,
    AuthEvents,
    LastUsed,
    TrustedProxies,
    generate_key,
    parse_networks,
)
from chorus_gateway.db import Database
from chorus_gateway.live import LiveBoard, LiveReports
from chorus_gateway.models import Resolver
from chorus_gateway.prices import Prices
from chorus_gateway.routing.interventions import RedisInterventions
from chorus_gateway.telemetry import Metrics, Tracing
from chorus_gateway.telemetry.exposition import Exposition
from chorus_gateway.tenants import AdapterLimits, KeyStore, TenantStore, Terms
from chorus_gateway.values import BaseModel, Scope, Tenant
from tests.gateway.support.fake_store import TOKEN

PEPPER = b"a pepper for tests"
LIMITS = BodyLimits(default=10_000, upload=1 << 20)


@dataclass
class Engines:
    """One base model, on an engine that a test may take away."""

    name: str
    connected: bool = field(default=True)

    def ready(self) -> bool:
        return self.connected

    def get(self, name: str) -> BaseModel | None:
        return self.all()[0] if name == self.name else None

    def all(self) -> tuple[BaseModel, ...]:
        return (BaseModel(self.name, "b" * 64, "t" * 64, 512, (0,), created=1),)


@dataclass
class Door:
    app: FastAPI
    parts: Parts
    engines: Engines
    admin_key: ApiKey
    terms: Terms
    last_used: LastUsed
    http: httpx.AsyncClient  # with no key

    @property
    def admin(self) -> dict[str, str]:
        return bearer(self.admin_key.text)

    async def tenant_key(self, tenant: str, *scopes: Scope) -> dict[str, str]:
        """Headers of a new key; the tenant is made when it is not there."""
        if tenant not in [record.tenant.id for record in await self.parts.tenants.all()]:
            await self.parts.tenants.create(Tenant(tenant))
        key, _ = await self.parts.keys.create(tenant, scopes=scopes or (Scope.INFER,))
        return bearer(key.text)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@asynccontextmanager
async def open_door(
    database: Database,
    redis: Redis,
    store_address: str,
    *,
    model: str,
    tracer_provider: TracerProvider | None = None,
    routers: tuple[APIRouter, ...] = (),
) -> AsyncIterator[Door]:
    async with grpc.aio.insecure_channel(store_address) as channel:
        keys = KeyStore(database, pepper=PEPPER)
        last_used = LastUsed(keys)
        authenticator = Authenticator(keys, pepper=PEPPER, cache_ttl=60, last_used=last_used)
        prices, adapter_limits = Prices(database), AdapterLimits(database)
        terms = Terms(prices, adapter_limits, cache_ttl=60)
        adapters, engines, metrics = AdapterClient(channel, token=TOKEN), Engines(model), Metrics()
        parts = Parts(
            authenticator=authenticator,
            auth_events=AuthEvents(redis, authenticator, terms),
            tenants=TenantStore(database),
            keys=keys,
            adapter_limits=adapter_limits,
            prices=prices,
            proxies=TrustedProxies(parse_networks("10.9.0.0/16")),
            audit=AuditLog(database),
            adapters=adapters,
            resolver=Resolver(engines, adapters, namespace_secret=b"a namespace secret", cache_ttl=60),
            live=LiveBoard(redis, LiveReports(dict, metrics.tenant_tokens, redis), tuple),
            readiness=Readiness(database.ping, engines),
            interventions=RedisInterventions(redis, "worker"),
            metrics=metrics,
            exposition=Exposition(metrics),
            tracing=Tracing(tracer_provider),
        )
        admin_key = generate_key()
        await keys.ensure_admin(admin_key)
        app = create_app(parts, LIMITS, routers)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
            yield Door(app, parts, engines, admin_key, terms, last_used, http)
