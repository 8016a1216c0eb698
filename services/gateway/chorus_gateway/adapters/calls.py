"""What every client of the adapter store needs: its stub, the token and a time limit."""

from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar

import grpc

from chorus_gateway.adapters.errors import from_status, is_said
from chorus_gateway.telemetry import current_traceparent
from chorus_proto.adapters.v1.adapters_pb2_grpc import AdapterStoreStub

if TYPE_CHECKING:
    from chorus_proto.adapters.v1.adapters_pb2_grpc import AdapterStoreAsyncStub

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class StoreCalls:
    def __init__(self, channel: grpc.aio.Channel, token: str, timeout: float) -> None:
        """`timeout` in seconds."""
        self.stub: AdapterStoreAsyncStub = AdapterStoreStub(channel)  # type: ignore[assignment]  # one class at run time
        self.timeout = timeout
        self._authorization = f"Bearer {token}"

    async def ask(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[Request, Answer]",
        request: Request,
        timeout: float | None = None,
    ) -> Answer:
        return await answered(method(request, metadata=self.metadata(), timeout=timeout or self.timeout))

    def metadata(self) -> tuple[tuple[str, str], ...]:
        metadata = (("authorization", self._authorization),)
        traceparent = current_traceparent()
        return (*metadata, ("traceparent", traceparent)) if traceparent else metadata


async def answered(call: Awaitable[Answer]) -> Answer:
    """Raises the GatewayError that the store's status stands for, Unavailable when it does not answer."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise from_status(error.code(), error.details(), said=is_said(error.trailing_metadata())) from error
