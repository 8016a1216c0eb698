"""Everything that the gateway may answer instead of a completion.

GatewayError
├── InvalidRequest      400  a field, a value or the whole body is wrong
│   └── ConstraintRefused   what the answer must be cannot be compiled
├── Unauthenticated     401  no key, a malformed one, an unknown, expired or revoked one
├── PermissionDenied    403  the key's scopes do not reach this route
├── NotFound            404
│   └── ModelNotFound   404  unknown model, adapter or version; another tenant's adapter reads the same
├── Conflict            409  the name is taken, or something still refers to it
├── BodyTooLarge        413
├── RateLimited         429  retryable, with the time to wait
├── QuotaExceeded       429  not retryable
├── Overloaded          503  the queue is full, or no engine can take the request now
├── Unavailable         503  a service behind the gateway is away
├── DeadlineExceeded    504
└── Internal            500

Every message is one sentence with the value, the limit and what to do. `api.errors` maps the tree to OpenAI's error
object once.
"""

from collections.abc import Mapping


class StartError(Exception):
    """The gateway cannot start; one sentence for the operator. Never an answer to a request."""


class GatewayError(Exception):
    """`param` names the field at fault; `code` is OpenAI's machine-readable code, where one exists."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


class InvalidRequest(GatewayError):
    pass


class ConstraintRefused(InvalidRequest):
    """An engine's word on a constraint; `naming` says which field asked for it."""

    def naming(self, param: str) -> "ConstraintRefused":
        return ConstraintRefused(f"{param}: {self.message}", param=param, code="invalid_constraint")


class Unauthenticated(GatewayError):
    pass


class PermissionDenied(GatewayError):
    pass


class NotFound(GatewayError):
    pass


class ModelNotFound(NotFound):
    pass


class Conflict(GatewayError):
    pass


class BodyTooLarge(GatewayError):
    pass


class RateLimited(GatewayError):
    """`retry_after` is in seconds; `headers` are the x-ratelimit-* of the refusal."""

    def __init__(
        self,
        message: str,
        *,
        retry_after: float,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, param=param, code="rate_limit_exceeded")
        self.retry_after = retry_after
        self.headers = dict(headers or {})


class QuotaExceeded(GatewayError):
    """`headers` are the x-ratelimit-* of the refusal."""

    def __init__(self, message: str, *, code: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message, code=code)
        self.headers = dict(headers or {})


class Overloaded(GatewayError):
    """`retry_after` is in seconds."""

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message, code="overloaded")
        self.retry_after = retry_after


class Unavailable(GatewayError):
    pass


class DeadlineExceeded(GatewayError):
    pass


class Internal(GatewayError):
    pass
