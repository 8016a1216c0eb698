"""A real PostgreSQL of the tests' own, where its programs are installed."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

_USER = "postgres"


def _program(name: str) -> str | None:
    candidates = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    return str(candidates[0]) if candidates else shutil.which(name)


def _as_user(*command: str) -> list[str]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return list(command)
    return ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups", *command]


@contextmanager
def _cluster(folder: Path) -> Iterator[Path]:
    """A running PostgreSQL; its socket lies in the folder, so no port is taken."""
    initdb, server = _program("initdb"), _program("pg_ctl")
    if initdb is None or server is None:
        pytest.skip("PostgreSQL is not installed (initdb and pg_ctl were not found)")
    if os.geteuid() == 0:
        shutil.chown(folder, _USER, _USER)
    data = folder / "data"
    subprocess.run(
        _as_user(initdb, "-D", str(data), "-U", _USER, "-A", "trust", "-E", "UTF8", "-N"),
        check=True,
        capture_output=True,
    )
    subprocess.run(_start(server, folder), check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(_as_user(server, "-D", str(data), "-m", "immediate", "stop"), check=True, capture_output=True)


def _start(server: str, folder: Path) -> list[str]:
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    return _as_user(server, "-D", str(folder / "data"), "-w", "-l", str(folder / "log"), "-o", options, "start")


def crash(folder: Path) -> None:
    """A cluster's processes are killed, and it is started anew."""
    server = _program("pg_ctl")
    assert server is not None
    parent = int((folder / "data" / "postmaster.pid").read_text().split()[0])
    os.kill(parent, signal.SIGKILL)
    until = time.monotonic() + 60
    # Its children go by themselves, a moment after it, and hold its memory until then.
    while subprocess.run(_start(server, folder), check=False, capture_output=True).returncode:
        assert time.monotonic() < until, (folder / "log").read_text()[-2000:]
        time.sleep(0.2)


@contextmanager
def cluster() -> Iterator[Path]:
    """A running PostgreSQL, in a folder that goes with it."""
    # Not below pytest's folder: the socket's path must be short and every folder above readable to the other user.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        with _cluster(folder) as socket:
            yield socket
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Path]:
    with cluster() as socket:
        yield socket


@dataclass(frozen=True, slots=True)
class PostgresDatabase:
    socket: Path
    name: str

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://{_USER}@/{self.name}?host={self.socket}"

    def execute(self, *commands: str) -> None:
        """Through the server's own database, so that this one may be locked or dropped."""
        psql = _program("psql")
        assert psql is not None
        for command in commands:
            subprocess.run(
                _as_user(psql, "-h", str(self.socket), "-U", _USER, "-v", "ON_ERROR_STOP=1", "-c", command),
                check=True,
                capture_output=True,
            )


@pytest.fixture
def postgres_database(postgres: Path) -> PostgresDatabase:
    return create_database(postgres)


def create_database(socket: Path) -> PostgresDatabase:
    database = PostgresDatabase(socket, f"test_{uuid4().hex}")
    database.execute(f"CREATE DATABASE {database.name}")
    return database
