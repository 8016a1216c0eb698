from dataclasses import fields
from typing import Any
from unittest.mock import Mock

import pytest
from fastapi import FastAPI

from chorus_gateway.api.admin_usage import usage_routers
from chorus_gateway.api.batches import batches_router
from chorus_gateway.api.chat import chat_router
from chorus_gateway.api.completions import completions_router
from chorus_gateway.api.dependencies import Parts
from chorus_gateway.api.embeddings import embeddings_router
from chorus_gateway.api.files import files_router
from chorus_gateway.api.models import models_router
from chorus_gateway.api.responses import responses_router
from chorus_gateway.api.tokenize import tokenize_router
from chorus_gateway.app import BodyLimits, create_app
from chorus_gateway.telemetry import Metrics, Tracing


@pytest.fixture(scope="session")
def app() -> FastAPI:
    """The gateway's routes; nothing behind them is ever asked."""
    nothing: Any = Mock()
    given: dict[str, Any] = {part.name: nothing for part in fields(Parts)}
    parts = Parts(**given | {"metrics": Metrics(), "tracing": Tracing()})
    texts = (chat_router, completions_router, responses_router, embeddings_router)
    tokens = tokenize_router(nothing, nothing, nothing, nothing)
    stored = (files_router(nothing, nothing), batches_router(nothing, nothing, (), nothing))
    asking = (*(router(nothing) for router in texts), *stored, tokens, models_router(nothing, nothing))
    return create_app(parts, BodyLimits(1, 1), (*asking, *usage_routers(nothing)))


@pytest.fixture(scope="session")
def openapi(app: FastAPI) -> dict[str, Any]:
    return app.openapi()
