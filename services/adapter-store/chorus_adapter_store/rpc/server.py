"""The gRPC server with the store and health on it."""

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from chorus_adapter_store.errors import StartError
from chorus_adapter_store.rpc.auth import TokenInterceptor
from chorus_adapter_store.rpc.servicer import AdapterServicer
from chorus_adapter_store.rpc.uploads import MAX_CHUNK_BYTES
from chorus_proto.adapters.v1 import adapters_pb2, adapters_pb2_grpc

_SERVICE = adapters_pb2.DESCRIPTOR.services_by_name["AdapterStore"].full_name
_OPTIONS = (
    ("grpc.so_reuseport", 0),  # else a second store would share the port in silence
    ("grpc.max_receive_message_length", MAX_CHUNK_BYTES + (64 << 10)),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # gRPC's own, a minute, would win over the keepalive's
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)


class RpcServer:
    """TLS with `credentials`."""

    def __init__(
        self, servicer: AdapterServicer, token: str, credentials: grpc.ServerCredentials | None = None
    ) -> None:
        self._credentials = credentials
        self._server = grpc.aio.server(interceptors=(TokenInterceptor(token),), options=_OPTIONS)
        self._health = health.aio.HealthServicer()
        adapters_pb2_grpc.add_AdapterStoreServicer_to_server(servicer, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    async def start(self, host: str, port: int) -> int:
        """The port it listens on. Raises StartError."""
        try:
            bound = self._bind(f"{host}:{port}")
        except RuntimeError:
            bound = 0
        if not bound:
            raise StartError(
                f"cannot listen on {host}:{port} (CHORUS_STORE_PORT): the port is taken or the address is not this "
                "machine's"
            )
        await self._server.start()
        await self._health.set(_SERVICE, health_pb2.HealthCheckResponse.SERVING)
        return bound

    def _bind(self, address: str) -> int:
        if self._credentials is None:
            return self._server.add_insecure_port(address)
        return self._server.add_secure_port(address, self._credentials)

    async def stop(self, grace: float) -> None:
        """New calls are refused at once; running ones have `grace` seconds."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)
