"""What the routes that generate text have in common."""

import math
from typing import Any, Protocol

from fastapi import Request
from pydantic import BaseModel

from chorus_gateway.api.dependencies import client_of
from chorus_gateway.api.error_schemas import ERRORS
from chorus_gateway.api.schemas import GenerationRequest
from chorus_gateway.api.schemas_events import Schema, stream_of
from chorus_gateway.errors import InvalidRequest
from chorus_gateway.values import Band


class Asks(Protocol):
    @property
    def model(self) -> str: ...
    @property
    def user(self) -> str | None: ...
    @property
    def service_tier(self) -> str | None: ...
    def band(self) -> Band: ...


def generation_route(answer: type[BaseModel], event: Schema) -> dict[str, Any]:
    """Keywords of a route that answers with `answer`, or with events that each carry such an object."""
    description = "The answer; with `stream`, events."
    ok = {"model": answer, "description": description, "content": {"text/event-stream": {"schema": stream_of(event)}}}
    return {"response_model": None, "responses": {**ERRORS, 200: ok}}


def ask_fields(request: Request, body: GenerationRequest) -> dict[str, Any]:
    """Fields of Ask that every such route fills in the same way."""
    return {
        **request_fields(request, body),
        "n": body.n or 1,
        "stop": tuple(body.stop),
        "include_stop": bool(body.include_stop_str_in_output),
        "cache_key": body.prompt_cache_key or "",
        "skip_special_tokens": body.skip_special_tokens is not False,
    }


def request_fields(request: Request, body: Asks) -> dict[str, Any]:
    """Those that embeddings have too."""
    headers = request.headers
    return {
        "request_id": request.state.request_id,
        "authorization": headers.get("authorization"),
        "model": body.model,
        "band": body.band(),
        "any_band": body.service_tier in (None, "auto"),
        "timeout": _timeout(headers.get("x-request-timeout")),
        "client": client_of(request),
        "user": body.user or "",
        "trace": {name: headers[name] for name in ("traceparent", "tracestate") if name in headers},
    }


def _timeout(text: str | None) -> float:
    """Seconds; without the header as long as the gateway allows."""
    if text is None:
        return math.inf
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise InvalidRequest(
            f"x-request-timeout: {text[:40]!r} is no time; it must be a number of seconds above 0, such as 30.",
            param="x-request-timeout",
        )
    return seconds
