"""Every route that changes something is recorded: around its endpoint, so that no endpoint has to think of it."""

import functools
import inspect
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import Request
from pydantic import BaseModel

from chorus_gateway.audit import AuditLog, Change, Recording
from chorus_gateway.audit.entry import compact
from chorus_gateway.values import Principal

Endpoint = Callable[..., Awaitable[Any]]
MARK = "__audited__"
REQUEST = "audited_request"  # the parameter of endpoints that ask for no request themselves
PREFIX = "/admin/v1/"
# Of an answer, what tells which thing was made. A whole answer may hold a key.
IDENTITY = ("id", "tenant", "name", "model", "generation", "digest", "expires_at")
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
MAX_OBJECT, MAX_DETAILS = 512, 16_384  # characters


def audited(endpoint: Endpoint) -> Endpoint:
    """The endpoint with the request among its parameters, by which FastAPI hands it over. It is called once the key,
    the path and the body were found good."""
    if hasattr(endpoint, MARK):
        return endpoint
    signature = inspect.signature(endpoint)
    own = next((each.name for each in signature.parameters.values() if each.annotation is Request), None)

    @functools.wraps(endpoint)
    async def recorded(**arguments: Any) -> Any:
        request: Request = arguments[own] if own else arguments.pop(REQUEST)
        audit: AuditLog = request.app.state.parts.audit
        async with audit.recording(_change(endpoint, request, arguments)) as recording:
            answer = await endpoint(**arguments)
            _complete(recording, request, answer)
        return answer

    setattr(recorded, MARK, True)
    if own is None:
        extra = inspect.Parameter(REQUEST, inspect.Parameter.KEYWORD_ONLY, annotation=Request)
        setattr(recorded, "__signature__", signature.replace(parameters=[*signature.parameters.values(), extra]))  # noqa: B010
    return recorded


def _change(endpoint: Endpoint, request: Request, arguments: Mapping[str, Any]) -> Change:
    principal: Principal = request.state.principal
    bodies = [value for value in arguments.values() if isinstance(value, BaseModel)]
    details: dict[str, Any] = dict(request.query_params)
    for body in bodies:
        details |= body.model_dump(mode="json", exclude_unset=True)
    return Change(
        at=round(time.time() * 1000),
        actor=principal.key_id,
        client=getattr(request.state, "client", ""),
        action=getattr(endpoint, "__name__", "")[:64],
        object=_object(request),
        details=_bounded(details),
    )


def _complete(recording: Recording, request: Request, answer: Any) -> None:
    if not isinstance(answer, BaseModel):
        return
    made = {name: value for name in IDENTITY if (value := getattr(answer, name, None)) is not None}
    recording.details["answer"] = made
    if "digest" in made:  # an adapter, whose upload's path does not name it
        recording.object = f"adapters/{made['tenant']}/{made['name']}"
    elif request.method == "POST" and "id" in made:
        recording.object = f"{_object(request)}/{made['id']}"


def _object(request: Request) -> str:
    path = UNPRINTABLE.sub("�", request.url.path)
    return path.removeprefix(PREFIX)[:MAX_OBJECT]


def _bounded(details: dict[str, Any]) -> str:
    text = compact(details)
    return text if len(text) <= MAX_DETAILS else compact({"truncated": text[:MAX_DETAILS]})
