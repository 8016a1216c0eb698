"""A CA of the test's own and a certificate for this machine, by the openssl command."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Certificates:
    cert: Path
    key: Path
    ca: Path

    def settings(self) -> dict[str, str]:
        return {"CHORUS_TLS_CERT": str(self.cert), "CHORUS_TLS_KEY": str(self.key), "CHORUS_TLS_CA": str(self.ca)}


def make_certificates(folder: Path, name: str = "one") -> Certificates:
    """Good for 127.0.0.1 alone. Skips the test where there is no openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    ca, ca_key = folder / f"{name}-ca.pem", folder / f"{name}-ca.key"
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    _openssl(*new, "-subj", f"/CN=tests {name}", "-keyout", ca_key, "-out", ca)
    signed = ("-CA", ca, "-CAkey", ca_key, "-addext", "basicConstraints=critical,CA:FALSE")
    _openssl(
        *new, *signed, "-subj", "/CN=service", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert
    )
    return Certificates(cert, key, ca)


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
