"""Several processes on one port: their metrics are all there, one dies and is replaced, and all end together."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from chorus_gateway.telemetry.exposition import joined
from chorus_gateway.workers import LAST_DELAY, Workers, _Place
from tests.gateway.config.test_process import environment, fails, start
from tests.gateway.support.redis_server import free_port

WORKERS = 2
ONE = b"""# HELP a_total Things.
# TYPE a_total counter
a_total{kind="x{y}"} 1.0
# HELP b A gauge.
# TYPE b gauge
b 2.0
"""


def test_expositions_of_workers_become_one() -> None:
    text = joined({1: ONE.replace(b"2.0", b"3.0"), 0: ONE, 2: b""}).decode()
    found = {family.name: family for family in text_string_to_metric_families(text)}
    assert list(found) == ["a", "b"]
    assert [(each.labels, each.value) for each in found["a"].samples] == [
        ({"worker": "0", "kind": "x{y}"}, 1.0),
        ({"worker": "1", "kind": "x{y}"}, 1.0),
    ]
    assert [(each.labels["worker"], each.value) for each in found["b"].samples] == [("0", 2.0), ("1", 3.0)]
    assert text.count("# HELP") == text.count("# TYPE") == 2


# The one worker is told to end while it is between its fork and its own handlers.
EARLY = """
import os, signal, sys, time
from chorus_gateway.workers import Workers

def begin_late():
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(0.5)

os.register_at_fork(after_in_child=begin_late)
sys.exit(Workers(1, 0, lambda worker: time.sleep(60) or 0, patience=20.0).run())
"""


def test_a_worker_that_is_told_to_end_as_it_begins_ends() -> None:
    assert subprocess.run([sys.executable, "-c", EARLY], timeout=60, check=False).returncode == 0


# The machine has no room for another process at first.
REFUSED = """
import os, signal, sys, time
from chorus_gateway.workers import Workers
fork = os.fork

def refusing():
    os.fork = fork
    raise BlockingIOError(11, "Resource temporarily unavailable")

def work(worker):
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(60)

os.fork = refusing
sys.exit(Workers(1, 0, work, patience=20.0).run())
"""


def test_a_worker_that_cannot_be_started_is_tried_again() -> None:
    command = [sys.executable, "-c", REFUSED]
    ended = subprocess.run(command, timeout=60, check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "a gateway worker cannot be started\n")


def test_a_worker_may_fail_for_days() -> None:
    broken = _Place(0, failures=2000)
    assert Workers._put_off(broken) == LAST_DELAY
    assert broken.due > time.monotonic()


@contextmanager
def gateway(folder: Path, port: int, **changes: str) -> "Iterator[subprocess.Popen[str]]":
    variables = environment(folder, port, CHORUS_GATEWAY_WORKERS=str(WORKERS), **changes)
    process = start(folder, variables)
    try:
        yield process
    finally:
        process.kill()
        if process.stderr is not None and not process.stderr.closed:
            process.communicate(timeout=60)  # until its workers have ended too


def starts(port: int) -> dict[str, float]:
    """By worker: how often it was started, as any of them tells."""
    try:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
    except httpx.TransportError:
        return {}
    families = {family.name: family for family in text_string_to_metric_families(text)}
    return {each.labels["worker"]: each.value for each in families["gateway_worker_starts"].samples}


def children(process: "subprocess.Popen[str]") -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def eventually(holds: Callable[[], object], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced_and_the_others_go_on(tmp_path: Path) -> None:
    port = free_port()
    with gateway(tmp_path, port) as process:
        eventually(lambda: starts(port) == {"0": 1, "1": 1})
        first, second = children(process)
        os.kill(first, signal.SIGKILL)
        # Its parent has seen it dead, so that its last thread, and with it its socket, is gone.
        eventually(lambda: not Path(f"/proc/{first}").exists())
        # Whoever asks now is answered: the port has the other one.
        assert {httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=30).status_code for _ in range(20)} == {200}
        eventually(lambda: starts(port) in ({"0": 2, "1": 1}, {"0": 1, "1": 2}))
        assert second in children(process)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 0, told
        assert "Traceback" not in told
        assert "a gateway worker died" in told
    assert not any(map(alive, (first, second)))


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    port = free_port()
    with gateway(tmp_path, port) as process:
        eventually(lambda: len(starts(port)) == WORKERS)
        workers = children(process)
        process.kill()
        eventually(lambda: not any(map(alive, workers)))
    with gateway(tmp_path, port):
        eventually(lambda: len(starts(port)) == WORKERS)


@pytest.mark.slow
def test_what_no_worker_can_do_ends_all_with_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "gateway.db").write_bytes(b"this is no database " * 100)
    variables = environment(tmp_path, 0, CHORUS_GATEWAY_WORKERS=str(WORKERS))
    assert "file is not a database" in fails(tmp_path, variables)


@pytest.mark.slow
def test_two_gateways_do_not_share_a_port_unawares(tmp_path: Path) -> None:
    port = free_port()
    with gateway(tmp_path, port):
        eventually(lambda: len(starts(port)) == WORKERS)
        variables = environment(tmp_path, port, CHORUS_GATEWAY_WORKERS=str(WORKERS))
        assert "Address already in use" in fails(tmp_path, variables)
