"""Refuses bodies that are too large, before they are read where their length is declared, else while they arrive."""

from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chorus_gateway.api.errors import error_response
from chorus_gateway.errors import BodyTooLarge


class BodyLimit:
    """`limits` has the routes (exact paths) whose limit is not the `default` one; all in bytes."""

    def __init__(self, app: ASGIApp, default: int, limits: Mapping[str, int]) -> None:
        self._app = app
        self._default = default
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limits.get(scope["path"], self._default)
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            await error_response(too_large(limit, f"{int(declared)} bytes"))(scope, receive, send)
            return
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise too_large(limit, "more")
            return message

        await self._app(scope, receive_counted, send)


def too_large(limit: int, size: str) -> BodyTooLarge:
    return BodyTooLarge(
        f"The body may have at most {limit} bytes and has {size}; send a smaller one.", code="request_too_large"
    )
