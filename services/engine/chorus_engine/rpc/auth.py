"""Who may call: bearers of the service token."""

import hmac
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import grpc
import grpc.aio

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # subscripted in the stubs alone


class ServiceTokenInterceptor(grpc.aio.ServerInterceptor):
    """Ends a call without the token with UNAUTHENTICATED before its handler is found.

    It never wraps a handler: wrappers of streaming handlers lose their cancellation.
    """

    def __init__(self, token: str, open_services: Sequence[str] = ()) -> None:
        """`open_services`: full names, such as "grpc.health.v1.Health", that need no token."""
        self._expected = f"Bearer {token}".encode()
        self._open = tuple(f"/{name}/" for name in open_services)
        self._refusal: Handler = grpc.stream_stream_rpc_method_handler(_refuse)

    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        if handler_call_details.method.startswith(self._open) or self._has_token(handler_call_details):
            return await continuation(handler_call_details)
        return self._refusal

    def _has_token(self, details: grpc.HandlerCallDetails) -> bool:
        given = [value for key, value in details.invocation_metadata or () if key == "authorization"]
        if len(given) != 1:
            return False
        value = given[0]
        return hmac.compare_digest(value if isinstance(value, bytes) else value.encode(), self._expected)


async def _refuse(_: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
    await context.abort(
        grpc.StatusCode.UNAUTHENTICATED,
        "the call has no valid service token; set the same CHORUS_SERVICE_TOKEN for all services.",
    )
