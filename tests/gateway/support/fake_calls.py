"""What every call to the adapter store's double has in common."""

from typing import Any

import grpc
import grpc.aio

from chorus_proto.adapters.v1 import adapters_pb2 as pb
from chorus_proto.adapters.v1 import adapters_pb2_grpc

TOKEN = "a-secret-of-the-services"


class FakeCalls(adapters_pb2_grpc.AdapterStoreServicer):
    def __init__(self) -> None:
        self.adapters: list[pb.Adapter] = []  # newest first
        self.metadata: list[dict[str, str]] = []  # of each call
        self.fail_with: tuple[grpc.StatusCode, str] | None = None
        self.fail_metadata: tuple[tuple[str, str], ...] = ()  # that goes with it
        self._server: grpc.aio.Server | None = None
        self.address = ""

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)

    async def _admit(self, context: Any) -> None:
        metadata = dict(context.invocation_metadata())
        self.metadata.append(metadata)
        if metadata.get("authorization") != f"Bearer {TOKEN}":
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the service token is wrong")
        if self.fail_with is not None:
            await context.abort(*self.fail_with, trailing_metadata=self.fail_metadata)

    def _of(self, tenant: str, name: str) -> list[pb.Adapter]:
        return [adapter for adapter in self.adapters if (adapter.tenant, adapter.name) == (tenant, name)]


async def missing(context: Any) -> None:
    await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such adapter")
