"""The gRPC server around the service."""

from collections.abc import Callable, Sequence

import grpc
import grpc.aio

from chorus_engine.core.errors import StartError
from chorus_engine.rpc.auth import ServiceTokenInterceptor
from chorus_engine.rpc.service import EngineService
from chorus_proto.engine.v1.engine_pb2_grpc import add_EngineServicer_to_server

_OPTIONS = (
    # A peer that vanished without a word is noticed within 15 s.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),  # gRPC's own, a minute, would win over the keepalive's
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 2_000),
    # A frame of submits carries prompts: 16 MiB is some four million tokens.
    ("grpc.max_receive_message_length", 16 << 20),
    # A frame is all that a stream's outbox holds, and gateways take as much.
    ("grpc.max_send_message_length", 64 << 20),
    # Two engines on one port would share its connections at random.
    ("grpc.so_reuseport", 0),
)


def create_server(
    service: EngineService,
    *,
    address: str,
    token: str,
    credentials: grpc.ServerCredentials | None = None,
    add_services: Sequence[Callable[[grpc.aio.Server], None]] = (),
    open_services: Sequence[str] = (),
) -> tuple[grpc.aio.Server, int]:
    """A server, not started, and the port that it is bound to; port 0 in `address` takes a free one.

    TLS with `credentials`. `add_services` register what is served beside the engine; those named in
    `open_services` need no token. Raises StartError when the port cannot be bound.
    """
    server = grpc.aio.server(interceptors=[ServiceTokenInterceptor(token, open_services)], options=_OPTIONS)
    add_EngineServicer_to_server(service, server)
    for add in add_services:
        add(server)
    try:
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    except RuntimeError:
        raise StartError(
            f"the engine cannot listen on {address}; stop what uses that port or set CHORUS_ENGINE_PORT to another."
        ) from None
    return server, port
