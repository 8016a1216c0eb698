"""Where every request comes from."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from chorus_gateway.auth.addresses import TrustedProxies


class ClientAddress:
    """Sets `request.state.client`, for keys that may be used from some networks only and for the audit log."""

    def __init__(self, app: ASGIApp, proxies: TrustedProxies) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            peer = (scope.get("client") or ("",))[0]
            forwarded = ",".join(Headers(scope=scope).getlist("x-forwarded-for")) if self._proxies else ""
            scope.setdefault("state", {})["client"] = self._proxies.client(peer, forwarded)
        await self._app(scope, receive, send)
