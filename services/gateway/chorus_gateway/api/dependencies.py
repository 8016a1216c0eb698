"""What routes are given: the parts that main composed, and who asks."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer

from chorus_gateway.adapters import AdapterClient
from chorus_gateway.api.auditing import Endpoint, audited
from chorus_gateway.api.health import Readiness
from chorus_gateway.audit import AuditLog
from chorus_gateway.auth import Authenticator, AuthEvents, TrustedProxies
from chorus_gateway.live import LiveBoard
from chorus_gateway.models import Resolver
from chorus_gateway.prices import Prices
from chorus_gateway.routing.interventions import RedisInterventions
from chorus_gateway.telemetry import Metrics, Tracing
from chorus_gateway.telemetry.exposition import Exposition
from chorus_gateway.tenants import AdapterLimits, KeyStore, TenantStore
from chorus_gateway.values import Principal, Scope

# Only describes the scheme on the OpenAPI page; Authenticator reads the header.
bearer = HTTPBearer(auto_error=False, description="`Authorization: Bearer chorus_…`")


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that routes use. One a process."""

    authenticator: Authenticator
    auth_events: AuthEvents
    tenants: TenantStore
    keys: KeyStore
    adapter_limits: AdapterLimits
    prices: Prices
    proxies: TrustedProxies
    audit: AuditLog
    adapters: AdapterClient
    resolver: Resolver
    live: LiveBoard
    readiness: Readiness
    interventions: RedisInterventions
    metrics: Metrics
    exposition: Exposition
    tracing: Tracing


async def parts(request: Request) -> Parts:
    found: Parts = request.app.state.parts
    return found


PartsDep = Annotated[Parts, Depends(parts)]


async def announceable(found: PartsDep) -> None:
    """Unavailable while Redis is away, by which every gateway would learn of a change."""
    await found.auth_events.require()


WRITES = [Depends(announceable)]  # of routes that change what gateways keep for a moment: they fail closed


def authenticated(scope: Scope) -> type[APIRoute]:
    """A class of routes for which the key is checked before anything of the body is read, and whose changes are
    written to the audit log."""

    class AuthenticatedRoute(APIRoute):
        def __init__(self, path: str, endpoint: Endpoint, **options: Any) -> None:
            reads = set(options.get("methods") or ["GET"]) <= {"GET", "HEAD"}
            super().__init__(path, endpoint if reads else audited(endpoint), **options)

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handler = super().get_route_handler()

            async def checked(request: Request) -> Response:
                authenticator = (await parts(request)).authenticator
                header = request.headers.get("authorization")
                request.state.principal = await authenticator.authenticate(header, scope, client_of(request))
                return await handler(request)

            return checked

    return AuthenticatedRoute


def client_of(request: Request) -> str:
    """Where the request comes from, as `ClientAddress` found it; empty where nobody knows."""
    client: str = getattr(request.state, "client", "")
    return client


async def principal(request: Request) -> Principal:
    """Who asks, on an `authenticated` route."""
    found: Principal = request.state.principal
    return found


PrincipalDep = Annotated[Principal, Depends(principal)]
