"""The routes that a batch's lines are asked through: a client's, behind a pipeline of their own."""

from collections.abc import Sequence

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware

from chorus_gateway.api.errors import install_error_handlers
from chorus_gateway.middleware import CatchFailures


def create_line_app(routers: Sequence[APIRouter]) -> FastAPI:
    app = FastAPI(openapi_url=None, redirect_slashes=False, middleware=[Middleware(CatchFailures)])
    install_error_handlers(app)
    for router in routers:
        app.include_router(router)
    return app
