"""Whatever goes wrong is one sentence and an exit status; nobody sees a traceback."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chorus_client import cli
from tests.cli.conftest import MODEL, Chorus, Gateway

pytestmark = pytest.mark.xdist_group("cli")  # one gateway for all of them

COMMAND = [sys.executable, "-m", "chorus_client.cli"]
PATIENCE = 60.0  # seconds, on a busy machine

# Whoever runs the tests in the background has SIGINT ignored, which children inherit; a terminal's have it. Not by
# preexec_fn: that forks, and what libraries do in a fork of a process with threads may end it.
HEARS_INTERRUPTS = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
)


@pytest.mark.parametrize(
    ("variables", "status", "said"),
    [
        ({"CHORUS_BASE_URL": "http://127.0.0.1:1"}, 1, "Nothing answers at http://127.0.0.1:1"),
        ({"CHORUS_BASE_URL": "gateway:8000"}, 2, "CHORUS_BASE_URL"),
        ({"CHORUS_BASE_URL": "http://[::1"}, 2, "CHORUS_BASE_URL"),
        ({"CHORUS_ADMIN_KEY": "no key\n"}, 2, "CHORUS_ADMIN_KEY"),
        ({"CHORUS_ADMIN_KEY": "schlüssel"}, 2, "CHORUS_ADMIN_KEY"),
        ({"CHORUS_ADMIN_KEY": "chorus_wrong"}, 1, "status 401"),
        ({"CHORUS_ADMIN_KEY": ""}, 2, "CHORUS_ADMIN_KEY"),
        ({"HTTP_PROXY": "foo://x"}, 2, "proxies"),
        ({"SSL_CERT_FILE": "/nowhere"}, 2, "certificates"),
        ({"CHORUS_BASE_URL": "http://127.0.0.1:99999"}, 2, "CHORUS_BASE_URL"),
    ],
)
def test_no_gateway_and_no_key(
    chorus: Chorus, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], status: int, said: str
) -> None:
    monkeypatch.setattr("chorus_client.transport.FIRST_PAUSE", 0.0)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    ended = chorus("tenants", "list")
    assert (ended.status, ended.out, ended.err.count("\n"), ended.err[:8]) == (status, "", 1, "chorus: ")
    assert said in ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("tenants", "crate"),
        ("tenants", "create"),
        ("tenants", "create", "acme", "--wait", "1"),
        ("tenants", "create", "acme", "--weight", "heavy"),
        ("adapters", "push", "."),
        ("adapters", "push", "/nowhere", "--tenant", "acme", "--name", "sql"),
        ("adapters", "show", "sql"),
        ("keys", "create"),
        ("keys", "create", "--tenant", "acme", "--expires-in", "soon"),
        ("keys", "list", "-o", "yaml"),
        ("usage", "--format", "xml"),
        ("top", "--interval", "0"),
    ],
)
def test_wrong_usage(chorus: Chorus, arguments: tuple[str, ...]) -> None:
    ended = chorus(*arguments)
    assert (ended.status, ended.out, ended.err.count("\n"), ended.err[:8]) == (2, "", 1, "chorus: ")


def test_help_and_version_need_no_settings(chorus: Chorus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHORUS_BASE_URL", "nonsense")
    assert chorus("adapters", "push", "--help").status == 0
    assert chorus("--version").out.startswith("chorus 0.")
    assert "--install-completion" in chorus("--help").out


def test_the_client_without_the_commands_packages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("chorus_client.cli.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert "chorus-client[cli]" in str(ended.value.code)


def test_a_group_alone_shows_its_help(chorus: Chorus) -> None:
    for words in ((), ("adapters",)):
        ended = chorus(*words)
        assert (ended.status, ended.out, ended.err[:13]) == (2, "", "Usage: chorus")


def test_ctrl_c_is_one_sentence(chorus: Chorus, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("chorus_client.tenants.Tenants.list", interrupted)
    ended = chorus("tenants", "list")
    assert (ended.status, ended.out, ended.err) == (130, "", "chorus: Stopped.\n")


@pytest.mark.usefixtures("environment")
def test_a_reader_that_stops_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing) as out:
        ended = subprocess.run([*COMMAND, "tenants", "list"], stdout=out, stderr=subprocess.PIPE, timeout=PATIENCE)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_a_full_disk_is_one_sentence() -> None:
    with Path("/dev/full").open("w") as out:
        ended = subprocess.run([*COMMAND, "--version"], stdout=out, stderr=subprocess.PIPE, timeout=PATIENCE)
    assert (ended.returncode, ended.stderr) == (1, b"chorus: The output cannot be written: No space left on device.\n")


@pytest.mark.usefixtures("environment")
def test_ctrl_c_ends_top_and_gives_the_screen_back() -> None:
    with Terminal("top") as terminal:
        terminal.shows("tokens/s")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(PATIENCE) == 0
        assert terminal.shows("\x1b[?1049l")


@pytest.mark.usefixtures("environment", "key")
def test_a_conversation(gateway: Gateway) -> None:
    with Terminal("chat", "--model", MODEL) as terminal:
        terminal.shows("Talking to")
        terminal.types("Say hello.")
        terminal.shows("hello world")
        gateway.doubles.words, gateway.doubles.pause = "the quick \x1b[2J brown fox" * 20, 0.2
        try:
            terminal.types("Go on.")
            terminal.shows("quick")
            terminal.process.send_signal(signal.SIGINT)
            terminal.shows("(stopped)")
        finally:
            gateway.doubles.words, gateway.doubles.pause = "hello world", 0.0
        terminal.types("/model nobody")
        terminal.types("Who are you?")
        terminal.shows("chorus: The model")
        terminal.types("/reset")
        terminal.shows("Forgotten.")
        terminal.types("/exit")
        assert terminal.process.wait(PATIENCE) == 0
        assert "\x1b[2J" not in terminal.seen
        assert "Traceback" not in terminal.seen
    submits = gateway.doubles.engine.submits
    assert len(submits[-1].prompt_token_ids) > len(submits[-2].prompt_token_ids)  # what was said before


@pytest.mark.usefixtures("environment")
def test_a_push_shows_its_progress(tenant: str, folder: Path) -> None:
    with Terminal("adapters", "push", str(folder), "--tenant", tenant, "--name", "sql") as terminal:
        terminal.shows("validating")
        terminal.shows("digest")
        assert terminal.process.wait(PATIENCE) == 0


class Terminal:
    """The command in a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self._main, end = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", HEARS_INTERRUPTS, *COMMAND, *arguments],
            stdin=end,
            stdout=end,
            stderr=end,
            env=environment,
            start_new_session=True,
        )
        os.close(end)
        os.set_blocking(self._main, False)
        self.seen = ""
        self._looked = 0

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._main)

    def types(self, line: str) -> None:
        os.write(self._main, f"{line}\n".encode())

    def shows(self, text: str) -> bool:
        """True once it has, after whatever was waited for before."""
        until = time.monotonic() + PATIENCE
        while (at := self.seen.find(text, self._looked)) < 0:
            assert time.monotonic() < until, self.seen
            try:
                self.seen += os.read(self._main, 65536).decode(errors="replace")
            except BlockingIOError:
                time.sleep(0.02)
            except OSError:  # the other end is closed
                until = 0.0
        self._looked = at + len(text)
        return True
