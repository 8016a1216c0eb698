"""A stack that goes on after the command that started it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TextIO

from scripts.stack.config import ROOT, StackConfig
from scripts.stack.lock import holder

POLL_SECONDS = 0.1
STOP_SECONDS = 30.0


def ready_path(state: Path) -> Path:
    """Exists once the stack has said that it is up."""
    return state / "ready"


def detach(config: StackConfig) -> int:
    """Start it in the background and pass on what it says until it is up; its exit status when it cannot start."""
    log = config.log("up")
    config.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    ready_path(config.state).unlink(missing_ok=True)
    with log.open("w") as out, log.open() as shown:
        process = subprocess.Popen(
            [sys.executable, "-m", "scripts.up"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        while process.poll() is None and not ready_path(config.state).exists():
            _pass_on(shown)
            time.sleep(POLL_SECONDS)
        _pass_on(shown)
    return process.poll() or 0


def stop(state: Path) -> bool:
    """End the stack of this folder; False when none runs."""
    running = holder(state)
    if running is None:
        return False
    os.kill(running, signal.SIGTERM)
    until = time.monotonic() + STOP_SECONDS
    while holder(state) is not None and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
    return True


def _pass_on(shown: TextIO) -> None:
    sys.stdout.write(shown.read())
    sys.stdout.flush()
