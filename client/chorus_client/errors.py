"""Why a call fails.

ChorusError
├── Unreachable          no answer came: the address, the network, or a gateway that is down
├── Damaged              a download that is not what was uploaded; nothing was written
├── UnexpectedAnswer     an answer that is not of this API, such as a proxy's page
└── Refused              the gateway's answer: status, code, param, message, request_id
    ├── InvalidRequest   400, 405, 413  a field, a value or a file is wrong
    ├── Unauthenticated  401
    ├── PermissionDenied 403
    ├── NotFound         404
    ├── Conflict         409
    ├── QuotaExceeded    429  a limit of the tenant, which trying again does not lift
    ├── RateLimited      429  too many at once; it was tried again already
    ├── Unavailable      503, 504  a part behind the gateway is away; it was tried again already
    └── ServerFault      any other 5xx
"""

from collections.abc import Mapping
from typing import Any


class ChorusError(Exception):
    pass


class Unreachable(ChorusError):
    pass


class Damaged(ChorusError):
    pass


class UnexpectedAnswer(ChorusError):
    pass


class Refused(ChorusError):
    """`message` is one sentence for people; `code` and `param`, the field at fault, are None where the answer has none.
    `request_id` is what the gateway's log calls the request."""

    def __init__(
        self, message: str, *, status: int, code: str | None, param: str | None, request_id: str | None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.param = param
        self.request_id = request_id

    def __str__(self) -> str:
        known = f" (status {self.status}, request {self.request_id})" if self.request_id else f" (status {self.status})"
        return self.message + known


class InvalidRequest(Refused):
    pass


class Unauthenticated(Refused):
    pass


class PermissionDenied(Refused):
    pass


class NotFound(Refused):
    pass


class Conflict(Refused):
    pass


class QuotaExceeded(Refused):
    pass


class RateLimited(Refused):
    pass


class Unavailable(Refused):
    pass


class ServerFault(Refused):
    pass


KINDS: Mapping[int, type[Refused]] = {
    401: Unauthenticated,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    429: RateLimited,
    503: Unavailable,
    504: Unavailable,
}


def refusal(status: int, body: Any, request_id: str | None) -> ChorusError:
    """Of an answer that is no success."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping) or not isinstance(error.get("message"), str):
        return UnexpectedAnswer(f"The server answered {status} and no error of Chorus; is this address a gateway's?")
    code = error.get("code")
    kind = KINDS.get(status, InvalidRequest if status < 500 else ServerFault)
    if code == "insufficient_quota":
        kind = QuotaExceeded
    return kind(error["message"], status=status, code=code, param=error.get("param"), request_id=request_id)
