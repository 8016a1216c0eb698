"""Constraints are compiled by another process first, as somebody else wrote them.

llguidance bounds much of what a grammar may cost, but not all: a chain of some thousand references overflows its stack,
which would end the engine, and some schemas take minutes. What the trial survives is compiled once more, here.
"""

import json
import select
import subprocess
import sys
import threading
from typing import IO

from chorus_engine.constraints.tokenizer import TokenTable
from chorus_engine.core.constraint import Constraint
from chorus_engine.core.errors import ConstraintRefused

PATIENCE = 30.0  # seconds for an answer, the tokenizer's making included; its processor time is bounded there
_TOO_MUCH = ConstraintRefused("compiling it takes more time, memory or depth than this engine allows: make it simpler.")


class Trial:
    """Thread-safe; one constraint after another. The process is started when first needed, and again if it dies."""

    def __init__(self, table: TokenTable) -> None:
        self._table = table
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def start(self) -> None:
        with self._lock:
            self._running()

    def check(self, constraint: Constraint) -> None:
        """Raises ConstraintRefused, with where and why if it was the constraint's fault."""
        with self._lock:
            answer = self._ask({"kind": constraint.kind.value, "source": constraint.source})
        if answer is None:
            raise _TOO_MUCH
        if answer:
            raise ConstraintRefused(answer)

    def close(self) -> None:
        """May be called while a check waits, which then is refused."""
        self._closed = True
        self._kill()

    def _ask(self, question: dict[str, str]) -> str | None:
        """Its answer, or None if there is none."""
        process = self._running()
        if process is None:
            return None
        try:
            _write(process.stdin, question)
            assert process.stdout is not None
            line = process.stdout.readline() if _readable(process.stdout, PATIENCE) else b""
        except OSError:
            line = b""
        if not line:
            self._kill()
            self._running()  # whoever is next need not wait until it has begun
            return None
        return str(json.loads(line))

    def _running(self) -> "subprocess.Popen[bytes] | None":
        if self._process is None and not self._closed:
            command = [sys.executable, "-m", "chorus_engine.constraints.trial_process"]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            _write(self._process.stdin, self._table.to_json())
        return self._process

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue  # what was not written yet nobody reads


def _readable(pipe: IO[bytes], seconds: float) -> bool:
    poll = select.poll()  # select() knows no file numbers above 1023
    poll.register(pipe, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _write(pipe: IO[bytes] | None, message: object) -> None:
    assert pipe is not None
    pipe.write(json.dumps(message).encode() + b"\n")
    pipe.flush()
