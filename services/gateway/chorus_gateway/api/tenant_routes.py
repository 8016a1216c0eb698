"""Routes of tenants that are no request for text: the key is checked before anything of the body is read."""

from collections.abc import Awaitable, Callable

from fastapi import Request

from chorus_gateway.api.dependencies import client_of
from chorus_gateway.pipeline import Authenticator, tenant_of
from chorus_gateway.values import Principal, Scope


def asking_tenant(auth: Authenticator) -> Callable[[Request], Awaitable[Principal]]:
    """A dependency: who asks, with the scope `infer` and a tenant."""

    async def principal(request: Request) -> Principal:
        found = await auth.authenticate(request.headers.get("authorization"), Scope.INFER, client_of(request))
        tenant_of(found)
        return found

    return principal
