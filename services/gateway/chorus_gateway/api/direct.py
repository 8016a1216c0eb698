"""Requests for text without FastAPI's way to their routes, which takes longer than all that the gateway does itself.

A JSON body that its schema accepts goes straight to the route's function. Everything else takes the usual way, with the
body read already, so that each refusal is worded in one place. What is dear to read is not read on the event loop, and
not for those without a key.
"""

import json
from collections.abc import Iterable
from functools import cached_property
from typing import Any, get_type_hints

from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chorus_gateway.api.dependencies import client_of
from chorus_gateway.api.errors import error_response
from chorus_gateway.api.large_bodies import LargeBodies, is_dear
from chorus_gateway.errors import GatewayError
from chorus_gateway.middleware.failures import CatchFailures
from chorus_gateway.pipeline import Authenticator
from chorus_gateway.values import Scope as Permission


class DirectRoute(APIRoute):
    """Its function takes `request` and `body`, a model, depends on nothing else, and gives a Response."""

    @cached_property
    def schema(self) -> type[BaseModel]:
        schema: type[BaseModel] = get_type_hints(self.endpoint)["body"]
        return schema


class DirectRoutes:
    """Middleware: POSTs to the DirectRoutes among `routes`."""

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute], auth: Authenticator) -> None:
        self._app = app
        self._auth = auth
        self._large = LargeBodies()
        self._answer = CatchFailures(self._run)
        self._routes = {route.path: route for route in routes if isinstance(route, DirectRoute)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if route is None or not _says_json(scope):
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        await self._answer(scope, receive, send)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        route: DirectRoute = scope["route"]
        request = Request(scope, receive)
        try:
            content = await request.body()
            if is_dear(content):
                header = request.headers.get("authorization")
                await self._auth.authenticate(header, Permission.INFER, client_of(request))
                body: BaseModel | None = await self._large.read(route.schema, content)
            else:
                body = _accepted(route.schema, content)
            if body is None:
                await self._app(scope, _again(content, receive), send)
                return
            response = await route.endpoint(request, body)
            await response(scope, receive, send)
        except GatewayError as error:
            await error_response(error)(scope, receive, send)


def _says_json(scope: Scope) -> bool:
    content_type: bytes
    for name, content_type in scope["headers"]:
        if name == b"content-type":
            return content_type.partition(b";")[0].strip().lower() == b"application/json"
    return False


def _accepted(schema: type[BaseModel], content: bytes) -> BaseModel | None:
    # Read as FastAPI reads it: pydantic's own reader of JSON takes other numbers and texts.
    try:
        return schema.model_validate(json.loads(content))
    except (ValueError, RecursionError, ValidationError):
        return None


def _again(content: bytes, receive: Receive) -> Receive:
    """`receive` as it was before the body was read."""
    body: list[Any] = [{"type": "http.request", "body": content, "more_body": False}]

    async def replayed() -> Message:
        return body.pop() if body else await receive()

    return replayed
