"""The one place where errors become answers, always in OpenAI's shape."""

import logging
import math
from collections.abc import Mapping, Sequence
from sys import get_int_max_str_digits
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from chorus_gateway.errors import (
    BodyTooLarge,
    Conflict,
    DeadlineExceeded,
    GatewayError,
    Internal,
    InvalidRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    QuotaExceeded,
    RateLimited,
    Unauthenticated,
    Unavailable,
)

# Status and OpenAI's `type`; a subclass without an entry has its parent's.
STATUS: Mapping[type[GatewayError], tuple[int, str]] = {
    InvalidRequest: (400, "invalid_request_error"),
    Unauthenticated: (401, "authentication_error"),
    PermissionDenied: (403, "permission_error"),
    NotFound: (404, "invalid_request_error"),
    Conflict: (409, "invalid_request_error"),
    BodyTooLarge: (413, "invalid_request_error"),
    RateLimited: (429, "rate_limit_error"),
    QuotaExceeded: (429, "insufficient_quota"),
    Overloaded: (503, "service_unavailable_error"),
    Unavailable: (503, "service_unavailable_error"),
    DeadlineExceeded: (504, "timeout_error"),
    Internal: (500, "server_error"),
}
_MAX_PART = 64  # characters of a field's name, which a client may have made up
RETRY_SECONDS = 1.0  # where the error itself names no time

log = logging.getLogger(__name__)


def error_body(error: GatewayError) -> dict[str, dict[str, str | None]]:
    """`{"error": {"message", "type", "param", "code"}}`: the body of an answer, or an event in a stream."""
    _, kind = _status(error)
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}}


def error_response(error: GatewayError) -> JSONResponse:
    status, _ = _status(error)
    return JSONResponse(error_body(error), status, headers=_headers(error, status))


def install_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(GatewayError, _on_gateway_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_exception)


def _status(error: GatewayError) -> tuple[int, str]:
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def _headers(error: GatewayError, status: int) -> dict[str, str]:
    if isinstance(error, QuotaExceeded):
        return {**error.headers, "x-should-retry": "false"}
    headers = dict(error.headers) if isinstance(error, RateLimited) else {}
    if status in (429, 503):
        wait = error.retry_after if isinstance(error, RateLimited | Overloaded) else RETRY_SECONDS
        headers |= {"retry-after": str(math.ceil(wait)), "retry-after-ms": str(math.ceil(wait * 1000))}
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    return headers


async def _on_gateway_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, GatewayError)
    return error_response(error)


async def _on_invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return error_response(invalid(error.errors()))


def invalid(errors: Sequence[Any]) -> InvalidRequest:
    """pydantic's first complaint as one sentence, with the dotted path of its field."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return InvalidRequest(f"The body is no valid JSON: {first['ctx']['error']} at character {first['loc'][-1]}.")
    if isinstance(first.get("input"), bytes):  # FastAPI hands on what does not say that it is JSON
        return InvalidRequest(
            "The body does not say that it is JSON: send the header 'Content-Type: application/json'."
        )
    where = [str(part)[:_MAX_PART] for part in first["loc"] if part != "[key]"]
    path = ".".join(where[1:] if where[0] in ("body", "query", "path", "header") else where) or None
    message = _complaint(first)
    shown = "" if first["type"] == "missing" else _shown(first.get("input"))
    return InvalidRequest(f"{path or 'The body'}: {message}{shown}.", param=path)


def _complaint(first: Any) -> str:
    """Of a text's length pydantic speaks as of a list's where more is known of the text than that it is one."""
    if first["type"] in ("too_long", "too_short") and isinstance(first.get("input"), str):
        limit = first["ctx"].get("max_length", first["ctx"].get("min_length"))
        bound = "most" if first["type"] == "too_long" else "least"
        return f"should have at {bound} {limit} character{'' if limit == 1 else 's'} and has {len(first['input'])}"
    return str(first["msg"]).removeprefix("Value error, ")


def _shown(value: Any) -> str:
    """The value at fault, where it is short enough to help."""
    if isinstance(value, str | int | float | bool | None):
        text = repr(value)
        return f" (got {text if len(text) <= 100 else text[:100] + '…'})"
    return ""


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    # FastAPI wraps whatever reading the body raised.
    if isinstance(error.__cause__, GatewayError):
        return error_response(error.__cause__)
    response = error_response(_as_gateway_error(request, error))
    response.status_code = error.status_code
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


def _as_gateway_error(request: Request, error: HTTPException) -> GatewayError:
    route = f"{request.method} {request.url.path}"
    if error.status_code == 404:
        return NotFound(f"There is no route {route}; see /docs.", code="unknown_url")
    if error.status_code == 405:
        return InvalidRequest(f"The route {route} does not take this method; see /docs.", code="method_not_allowed")
    if isinstance(error.__cause__, ValueError | RecursionError):
        return unreadable(error.__cause__)
    return InvalidRequest(str(error.detail))


def unreadable(cause: ValueError | RecursionError) -> InvalidRequest:
    """What Python's reader refuses, invalid JSON aside."""
    if isinstance(cause, UnicodeDecodeError):
        return InvalidRequest(f"The body is not valid UTF-8: byte {cause.start} cannot be decoded.")
    if isinstance(cause, RecursionError):
        return InvalidRequest("The body's JSON is nested too deeply; send it with fewer levels.")
    return InvalidRequest(f"The body's JSON has a number of more than the {get_int_max_str_digits()} digits allowed.")
