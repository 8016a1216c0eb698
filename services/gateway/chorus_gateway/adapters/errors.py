"""The store's gRPC statuses as the gateway's errors."""

import logging
from collections.abc import Iterable

import grpc

from chorus_gateway.errors import (
    BodyTooLarge,
    Conflict,
    GatewayError,
    Internal,
    InvalidRequest,
    NotFound,
    QuotaExceeded,
    Unavailable,
)

# The store writes these for the client: value, limit and what to do.
FOR_CLIENTS: dict[grpc.StatusCode, type[GatewayError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.FAILED_PRECONDITION: Conflict,
    grpc.StatusCode.ALREADY_EXISTS: Conflict,
    grpc.StatusCode.RESOURCE_EXHAUSTED: BodyTooLarge,
}
AWAY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}

log = logging.getLogger(__name__)


def is_said(metadata: Iterable[tuple[str, str | bytes]] | None) -> bool:
    """Whether the store itself gave the status that came with this trailing metadata, and not gRPC for want of it."""
    return any(key == "chorus-said" for key, _ in metadata or ())


def from_status(code: grpc.StatusCode, details: str | None, *, said: bool = False) -> GatewayError:
    """`said`: by the store itself, so that even of what is away it knows more than we do."""
    if code in FOR_CLIENTS:
        return FOR_CLIENTS[code](details or code.name)
    if code is grpc.StatusCode.OUT_OF_RANGE:
        return QuotaExceeded(details or code.name, code="insufficient_quota")
    if said and details and code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DATA_LOSS}:
        sentence = details[0].upper() + details[1:]
        return Unavailable(sentence) if code is grpc.StatusCode.UNAVAILABLE else Internal(sentence)
    if code in AWAY:
        return Unavailable("The adapter store does not answer; try again in a moment.")
    # A wrong service token or a fault in the store: the operator's to read, not the client's.
    log.error("the adapter store failed", extra={"status": code.name, "details": details})
    return Internal("The adapter store failed; the fault is logged.")
