"""Errors to gRPC status codes, in one place."""

from __future__ import annotations  # grpc's generic types have parameters only for the type checker

import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc import StatusCode

from chorus_adapter_store.errors import (
    DataLoss,
    InvalidArgument,
    NotFound,
    Precondition,
    QuotaExceeded,
    Stalled,
    StoreError,
    TooLarge,
    Unavailable,
)
from chorus_adapter_store.telemetry.metrics import Metrics
from chorus_adapter_store.telemetry.tracing import Tracing

STATUS: Mapping[type[StoreError], StatusCode] = {
    InvalidArgument: StatusCode.INVALID_ARGUMENT,
    NotFound: StatusCode.NOT_FOUND,
    TooLarge: StatusCode.RESOURCE_EXHAUSTED,
    QuotaExceeded: StatusCode.OUT_OF_RANGE,
    Precondition: StatusCode.FAILED_PRECONDITION,
    Stalled: StatusCode.DEADLINE_EXCEEDED,
    Unavailable: StatusCode.UNAVAILABLE,
    DataLoss: StatusCode.DATA_LOSS,
}
_SERIOUS = frozenset({StatusCode.UNAVAILABLE, StatusCode.INTERNAL})  # of DATA_LOSS `blobs.Damage` tells, once
_SAID = (("chorus-said", "1"),)  # by the store, which gRPC's own statuses for its absence are not
_log = logging.getLogger(__name__)


class Calls:
    """What surrounds every call: its span, its metrics, and its errors as statuses."""

    def __init__(self, metrics: Metrics, tracing: Tracing) -> None:
        self._metrics = metrics
        self._tracing = tracing

    @asynccontextmanager
    async def answering(self, method: str, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[None]:
        """Aborts the call when the block raises; a cancellation passes, as grpc.aio wants it."""
        started = time.monotonic()
        code = StatusCode.CANCELLED
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        try:
            with self._tracing.server_span(f"adapter.{method}", metadata):
                yield
            code = StatusCode.OK
        except StoreError as error:
            code = STATUS[type(error)]
            if code in _SERIOUS:
                _log.error("%s failed: %s", method, error, extra={"cause": repr(error.__cause__)})
            await context.abort(code, str(error), trailing_metadata=_SAID)
        except Exception:
            code = StatusCode.INTERNAL
            _log.exception("%s failed", method)
            await context.abort(code, "the adapter store failed; its log says why")
        finally:
            self._metrics.calls.labels(method, code.name).observe(time.monotonic() - started)
