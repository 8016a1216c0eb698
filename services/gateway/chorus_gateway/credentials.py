"""TLS to the other services: their certificates are checked against the installation's CA."""

import ssl
from collections.abc import Sequence
from pathlib import Path

import grpc
import grpc.aio

from chorus_gateway.errors import StartError


def read_credentials(ca: Path | None) -> grpc.ChannelCredentials | None:
    """From a PEM file; None, which is plain text, without one. Raises StartError."""
    if ca is None:
        return None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca)
        return grpc.ssl_channel_credentials(ca.read_bytes())
    except ssl.SSLError:
        raise StartError(f"CHORUS_TLS_CA={str(ca)!r} holds no PEM certificates.") from None
    except OSError as error:
        raise StartError(f"CHORUS_TLS_CA={str(ca)!r} cannot be read: {error.strerror or error}.") from None


def open_channel(
    address: str, credentials: grpc.ChannelCredentials | None, options: Sequence[tuple[str, int]]
) -> grpc.aio.Channel:
    if credentials is None:
        return grpc.aio.insecure_channel(address, options=options)
    return grpc.aio.secure_channel(address, credentials, options=options)
