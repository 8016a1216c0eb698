"""`python -m chorus_gateway` as an operator meets it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from chorus_gateway.auth import generate_key
from tests.gateway.support.redis_server import RedisServer, free_port

pytestmark = pytest.mark.slow
KEY = generate_key().text


def environment(folder: Path, port: int, **changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CHORUS_", "OTEL_"))}
    return {
        **kept,
        "CHORUS_GATEWAY_PORT": str(port),
        "CHORUS_GATEWAY_DATABASE_URL": f"sqlite+aiosqlite:///{folder}/gateway.db",
        "CHORUS_REDIS_URL": "redis://127.0.0.1:1/0",
        "CHORUS_STORE_ADDRESS": "127.0.0.1:1",
        "CHORUS_SERVICE_TOKEN": "a service token of tests",
        "CHORUS_KEY_PEPPER": "a pepper for all tests",
        "CHORUS_NAMESPACE_SECRET": "a namespace secret of tests",
        "CHORUS_ADMIN_KEY": KEY,
        **changes,
    }


def start(folder: Path, variables: dict[str, str]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "chorus_gateway"]
    return subprocess.Popen(command, cwd=folder, env=variables, stderr=subprocess.PIPE, text=True)


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def fails(folder: Path, variables: dict[str, str]) -> str:
    """The one sentence with which it ends."""
    process = start(folder, variables)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 2, told
    lines = [line for line in told.splitlines() if not line.startswith("{")]
    assert len(lines) == 1, told
    assert lines[0].startswith("chorus-gateway: ")
    return lines[0]


def test_it_serves_without_redis_store_or_engine_and_ends_on_sigterm(tmp_path: Path) -> None:
    port = free_port()
    process = start(tmp_path, environment(tmp_path, port))
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"authorization": f"Bearer {KEY}"}) as http:
            until_alive(http)
            ready = http.get("/readyz")
            assert (ready.status_code, ready.json()["reasons"]) == (503, {"engines": "no engine is connected"})
            assert http.get("/admin/v1/tenants").json() == {"object": "list", "data": []}
            assert http.post("/admin/v1/tenants", json={"id": "acme"}).status_code == 503  # Redis is away
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 0, told
        assert "Traceback" not in told
        assert KEY not in told
    finally:
        process.kill()
        process.wait()


def test_tenants_and_keys_outlive_the_process(tmp_path: Path, shared_redis_server: RedisServer) -> None:
    for attempt in range(2):
        port = free_port()
        process = start(tmp_path, environment(tmp_path, port, CHORUS_REDIS_URL=shared_redis_server.url))
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"authorization": f"Bearer {KEY}"}) as http:
                until_alive(http)
                made = http.post("/admin/v1/tenants", json={"id": "acme"})
                assert made.status_code == (201, 409)[attempt]
        finally:
            process.terminate()
            process.communicate(timeout=60)


def test_a_busy_port_is_one_sentence(tmp_path: Path) -> None:
    with taken_port() as port:
        assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in fails(
            tmp_path, environment(tmp_path, port)
        )


def test_a_corrupt_database_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "gateway.db").write_bytes(b"this is no database " * 100)
    assert "gateway.db cannot be used: file is not a database" in fails(tmp_path, environment(tmp_path, 0))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"CHORUS_KEY_PEPPER": "short"}, "CHORUS_KEY_PEPPER is wrong: it must have at least 16 characters"),
        ({"CHORUS_GATEWAY_PORT": "http"}, "CHORUS_GATEWAY_PORT='http' is wrong"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "OTEL_EXPORTER_OTLP_PROTOCOL='http/json' is wrong"),
    ],
)
def test_a_wrong_setting_is_one_sentence(tmp_path: Path, changes: dict[str, str], words: str) -> None:
    assert words in fails(tmp_path, environment(tmp_path, 0, **changes))


def until_alive(http: httpx.Client) -> None:
    for _ in range(600):
        try:
            assert http.get("/healthz").status_code == 200
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the gateway does not come up")
