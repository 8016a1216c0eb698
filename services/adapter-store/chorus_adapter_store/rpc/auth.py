"""Only services that know the shared token may call; health checks need none."""

from __future__ import annotations  # grpc's generic types have parameters only for the type checker

import hmac
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

_HEALTH = "/grpc.health.v1.Health/"


class TokenInterceptor(grpc.aio.ServerInterceptor):
    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler = await continuation(handler_call_details)
        if handler_call_details.method.startswith(_HEALTH) or self._admits(handler_call_details.invocation_metadata):
            return handler
        return _refusing(handler)

    def _admits(self, metadata: Any) -> bool:
        given = next((value for key, value in metadata or () if key == "authorization"), "")
        return hmac.compare_digest(str(given).encode(), self._expected)


def _refusing(handler: grpc.RpcMethodHandler[Any, Any] | None) -> grpc.RpcMethodHandler[Any, Any]:
    """A handler of the same shape, so that the caller gets the status whichever kind of call it made."""

    async def refuse(_request: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await context.abort(
            grpc.StatusCode.UNAUTHENTICATED, "the service token is missing or wrong (CHORUS_SERVICE_TOKEN)"
        )

    async def refuse_stream(request: object, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        await refuse(request, context)
        yield b""

    reading, writing = (handler.request_streaming, handler.response_streaming) if handler else (False, False)
    make: Any = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[reading, writing]
    return make(refuse_stream if writing else refuse)  # type: ignore[no-any-return]  # grpc's makers are untyped here
