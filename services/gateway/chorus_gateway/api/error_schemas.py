"""OpenAI's error object, for the OpenAPI page."""

from typing import Any

from pydantic import BaseModel, Field


class ErrorDetail(BaseModel):
    message: str = Field(description="one sentence with the value, the limit and what to do")
    type: str
    param: str | None = Field(description="the field at fault, dotted")
    code: str | None


class ErrorBody(BaseModel):
    error: ErrorDetail


_MEANING = {
    400: "A field, a value or the whole body is wrong.",
    401: "No key, or one that is malformed, unknown, expired or revoked.",
    403: "The key's scopes do not reach this route.",
    404: "There is no such thing, or it is not yours.",
    409: "The name is taken, or something still refers to it.",
    413: "The body is too large.",
    429: "A rate limit or a quota is reached; `retry-after` and `x-ratelimit-*` say when to come back.",
    503: "A part behind the gateway is away; try again.",
}
# `responses` of a route. The default takes the place of FastAPI's 422, which this API never answers.
ERRORS: dict[int | str, dict[str, Any]] = {
    **{status: {"model": ErrorBody, "description": meaning} for status, meaning in _MEANING.items()},
    "default": {"model": ErrorBody, "description": "Whatever else goes wrong has the same form."},
}
