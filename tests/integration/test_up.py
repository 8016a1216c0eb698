"""`make up` as a person sees it: what it says, what it leaves behind, and that it stops everything."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from scripts.stack import envfile
from scripts.stack.config import ROOT
from tests.support.stack import environment_of

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("up"), pytest.mark.timeout(600)]
UP_SECONDS = 180.0


@dataclass
class Up:
    """A running `python -m scripts.up`."""

    process: "subprocess.Popen[bytes]"
    output: Path

    def await_text(self, wanted: str) -> str:
        until = time.monotonic() + UP_SECONDS
        while wanted not in (said := self.output.read_text()):
            assert self.process.poll() is None, said
            assert time.monotonic() < until, said
            time.sleep(0.05)
        return said

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def service(self, module: str) -> psutil.Process:
        (found,) = [child for child in self.family() if child.cmdline()[-2:] == ["-m", module]]
        return found

    def end(self, number: signal.Signals) -> str:
        """What it has said once it is gone."""
        self.process.send_signal(number)
        self.process.wait(timeout=60)
        return self.output.read_text()


@contextmanager
def up(state: Path, environment: Mapping[str, str]) -> Iterator[Up]:
    output = state.parent / f"output-{time.monotonic_ns()}"
    with output.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "scripts.up"],
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Up(process, output)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=60)


def refusal(environment: Mapping[str, str]) -> str:
    """Of a start that cannot be: one line, which begins with `chorus:`."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.up"],
        cwd=ROOT,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.fullmatch(r"chorus: [^\n]+\.\n", done.stderr), done.stderr
    assert "Traceback" not in done.stdout
    return done.stderr


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("up") / "state"


@pytest.fixture(scope="module")
def environment(state: Path) -> dict[str, str]:
    return environment_of(state)


def models(values: Mapping[str, str]) -> set[str]:
    headers = {"authorization": f"Bearer {values['CHORUS_API_KEY']}"}
    answer = httpx.get(f"{values['CHORUS_BASE_URL']}/models", headers=headers, timeout=60, trust_env=False)
    return {model["id"] for model in answer.json()["data"]}


@dataclass(frozen=True)
class First:
    """A first start, stopped by Ctrl-C once its models were asked for."""

    said: str
    values: Mapping[str, str]  # of the file `env`
    models: set[str]
    family: list[psutil.Process]
    last: str  # what it had said at its end
    status: int
    left: list[psutil.Process]


@pytest.fixture(scope="module")
def first(state: Path, environment: dict[str, str]) -> First:
    with up(state, environment) as running:
        said = running.await_text("Ctrl-C")
        values = envfile.read(state / "env")
        known, family = models(values), running.family()
        last = running.end(signal.SIGINT)
        left = psutil.wait_procs(family, timeout=60)[1]
        return First(said, values, known, family, last, running.process.returncode, left)


def test_it_starts_says_what_to_do_and_stops_on_ctrl_c(state: Path, environment: dict[str, str], first: First) -> None:
    assert first.values.keys() == {"CHORUS_BASE_URL", "CHORUS_API_KEY", "CHORUS_ADMIN_KEY"}
    assert first.values["CHORUS_BASE_URL"] == f"http://127.0.0.1:{environment['CHORUS_GATEWAY_PORT']}/v1"
    assert (state / "env").stat().st_mode & 0o077 == 0
    assert (state / "secrets").stat().st_mode & 0o077 == 0
    assert first.values["CHORUS_API_KEY"] in first.said
    assert first.values["CHORUS_ADMIN_KEY"] not in first.said
    assert "chorus-demo@reverse" in first.models
    assert len(first.family) >= 4
    assert first.last.rstrip().endswith("Chorus has stopped.")
    assert first.status == 0
    assert first.left == []


def test_a_second_start_keeps_the_key_and_the_adapters_and_a_third_beside_it_is_refused(
    state: Path, environment: dict[str, str], first: First
) -> None:
    with up(state, environment) as running:
        running.await_text("Ctrl-C")
        values = envfile.read(state / "env")
        assert values == first.values
        assert "chorus-demo@reverse" in models(values)
        assert "runs from this folder already" in refusal(environment)
        assert running.end(signal.SIGTERM).rstrip().endswith("Chorus has stopped.")


def test_nothing_is_left_when_it_is_killed_outright(state: Path, environment: dict[str, str]) -> None:
    with up(state, environment) as running:
        running.await_text("Ctrl-C")
        family = running.family()
        running.end(signal.SIGKILL)
        left = psutil.wait_procs(family, timeout=90)[1]
        assert [process.cmdline() for process in left] == []


def test_a_service_that_dies_is_named_and_ends_the_rest(state: Path, environment: dict[str, str]) -> None:
    with up(state, environment) as running:
        running.await_text("Ctrl-C")
        family = running.family()
        running.service("chorus_engine").kill()
        running.process.wait(timeout=60)
        last = running.output.read_text().rstrip().splitlines()[-1]
        assert last.startswith("chorus: The engine ended (killed by SIGKILL)")
        assert "engine.log" in last
        assert running.process.returncode == 1
        assert psutil.wait_procs(family, timeout=60)[1] == []


@pytest.mark.parametrize("setting", ["CHORUS_GATEWAY_PORT", "CHORUS_REDIS_PORT"])
def test_a_busy_port(tmp_path: Path, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refusal(environment_of(tmp_path / "state") | {setting: port})
    assert port in said
    assert setting in said


@pytest.mark.parametrize("database", ["gateway.db", "adapter-store.db"])
def test_a_corrupt_database(tmp_path: Path, database: str) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / database).write_bytes(b"this is no database" * 500)
    said = refusal(environment_of(tmp_path / "state"))
    assert database in said
    assert "not a database" in said


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("CHORUS_MODEL", "/no/such/folder"),
        ("CHORUS_DEVICE", "abacus"),
        ("CHORUS_MAX_NUM_SEQS", "many"),
        ("CHORUS_GATEWAY_PORT", "http"),
        ("CHORUS_LOG_LEVEL", "loud"),
    ],
)
def test_a_wrong_setting(tmp_path: Path, setting: str, value: str) -> None:
    said = refusal(environment_of(tmp_path / "state") | {setting: value})
    assert setting in said
    assert value in said


def test_detached_until_down(state: Path, environment: dict[str, str]) -> None:
    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=UP_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    try:
        assert "Chorus is up" in run("scripts.up", "--detach")
        assert "chorus-demo" in models(envfile.read(state / "env"))
    finally:
        said = run("scripts.down")
    assert "has stopped" in said
    assert "does not run" in run("scripts.down")
    assert not os.path.exists(state / "ready")
