"""Chat, and top while one is answered, over a gateway with an engine's double behind it."""

import io
import json
import subprocess
import sys
import time

import pytest

from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.cli.conftest import ENGINE, MODEL, Chorus, Gateway, ask

pytestmark = pytest.mark.xdist_group("cli")  # one gateway for all of them

SEEN_SECONDS = 60.0  # what is counted is told within a second or two; the machine may be busy


@pytest.mark.usefixtures("key")
def test_one_answer(chorus: Chorus, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(chorus, "--once", "Say hello.") == "hello world\n"
    asked = json.loads(ask(chorus, "--once", "Say hello.", "--max-tokens", "1", "-o", "json"))
    assert (asked["text"] in "hello world", asked["finish_reason"]) == (True, "length")
    assert asked["usage"]["completion_tokens"] == 1
    monkeypatch.setattr("sys.stdin", io.StringIO("Say hello.\n"))
    assert ask(chorus) == "hello world\n"


@pytest.mark.usefixtures("key")
def test_what_cannot_be_asked(chorus: Chorus, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = chorus("chat", "--model", "nobody", "--once", "Hello")
    assert (unknown.status, unknown.out, unknown.err.count("\n")) == (1, "", 1)
    assert "nobody" in unknown.err
    assert chorus("chat", "--model", MODEL, "-o", "json").status == 2
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert chorus("chat", "--model", MODEL).status == 2
    monkeypatch.delenv("CHORUS_API_KEY")
    keyless = chorus("chat", "--model", MODEL, "--once", "Hello")
    assert (keyless.status, "CHORUS_API_KEY" in keyless.err) == (2, True)


@pytest.mark.usefixtures("key")
def test_top_shows_who_runs_and_who_waits(chorus: Chorus, tenant: str, gateway: Gateway) -> None:
    gateway.doubles.words, gateway.doubles.pause = "the quick brown fox jumps over the lazy dog " * 20, 0.05
    command = [sys.executable, "-m", "chorus_client.cli", "chat", "--model", MODEL, "--once", "Go"]
    asking = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + SEEN_SECONDS
        while True:
            live = json.loads(chorus("top", "-o", "json").out)
            mine = [each for each in live["tenants"] if each["tenant"] == tenant]
            if (mine and mine[0]["tokens_per_second"] > 0) or time.monotonic() > until:
                break
            time.sleep(0.1)
        assert (mine[0]["running"], mine[0]["waiting"]) == (1, 0)
        assert mine[0]["tokens_per_second"] > 0
        (engine,) = live["engines"]
        assert (engine["id"], engine["state"], engine["running"]) == (ENGINE, "ready", 1)
        assert (live["complete"], live["workers"]) == (True, 1)
        shown = chorus("top", "--once")
        assert (shown.status, shown.err) == (0, "")
        assert f"\n{tenant}\t1\t0\t" in shown.out
        assert f"\n{ENGINE}\t{MODEL}\tready\t1\t0\t" in shown.out
    finally:
        gateway.doubles.words, gateway.doubles.pause = "hello world", 0.0
        asking.terminate()
        asking.wait(30)


@pytest.mark.usefixtures("key")
def test_an_answer_that_breaks_off_ends_its_line(chorus: Chorus, gateway: Gateway) -> None:
    gateway.doubles.error = pb.Error(code=pb.ERROR_CODE_INTERNAL, message="it broke")
    try:
        ended = chorus("chat", "--model", MODEL, "--once", "Say hello.")
    finally:
        gateway.doubles.error = None
    assert (ended.status, ended.out, ended.err.count("\n"), ended.err[:8]) == (1, "hello world\n", 1, "chorus: ")
