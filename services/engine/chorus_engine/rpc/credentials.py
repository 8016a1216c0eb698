"""TLS between the services: who serves shows its certificate, who calls checks it against the CA."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from chorus_engine.core.errors import StartError


@dataclass(frozen=True, slots=True)
class Credentials:
    """None is plain text."""

    server: grpc.ServerCredentials | None = None
    roots: bytes | None = None  # PEM of the CA that the adapter store's certificate is checked against


def read_credentials(cert: Path | None, key: Path | None, ca: Path | None) -> Credentials:
    """From PEM files: all three or none, since the engine serves and calls. Raises StartError."""
    files = {"CHORUS_TLS_CERT": cert, "CHORUS_TLS_KEY": key, "CHORUS_TLS_CA": ca}
    missing = [name for name, path in files.items() if path is None]
    if len(missing) == len(files):
        return Credentials()
    if cert is None or key is None or ca is None:
        # With a part of them some calls would go out in plain text, with the service token.
        raise StartError(f"TLS takes {', '.join(files)}, or none of them; missing: {', '.join(missing)}.")
    chain, secret, roots = _read("CERT", cert), _read("KEY", key), _read("CA", ca)
    _check(cert, key, ca)
    return Credentials(grpc.ssl_server_credentials([(secret, chain)]), roots)


def _read(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StartError(f"CHORUS_TLS_{name}={str(path)!r} cannot be read: {error.strerror or error}.") from None


def _check(cert: Path, key: Path, ca: Path) -> None:
    """gRPC would only say that the port cannot be bound, or that no engine answers."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca)
    except ssl.SSLError:
        raise StartError(f"CHORUS_TLS_CA={str(ca)!r} holds no PEM certificates.") from None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")  # never asks at a terminal
    except ssl.SSLError as error:
        raise StartError(
            f"CHORUS_TLS_CERT={str(cert)!r} and CHORUS_TLS_KEY={str(key)!r} are not a PEM certificate and its "
            f"unencrypted key: {error.reason or error}."
        ) from None
