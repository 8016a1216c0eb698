"""A process that checks uploads: all that it may use is bounded before it sees the first.

usage: python -m chorus_adapter_store.validate.process <bytes of memory> <seconds of processor time a check>

Tasks come on stdin and answers go to stdout (`wire`). It ends when stdin does, or with its parent.
"""

import ctypes
import platform
import resource
import signal
import sys
from contextlib import suppress
from typing import BinaryIO

from chorus_adapter_store.validate.wire import (
    LENGTH_BYTES,
    OUT_OF_MEMORY,
    Message,
    decode,
    decode_length,
    encode,
    perform,
)

_OPEN_FILES = 16
_PR_SET_PDEATHSIG = 1


def main() -> None:
    memory, seconds = int(sys.argv[1]), float(sys.argv[2])
    _end_with_parent()
    _limit(memory)
    tasks, answers = sys.stdin.buffer, sys.stdout.buffer
    _send(answers, encode({"ready": True}))
    while (task := _receive(tasks)) is not None:
        _allow_processor(seconds)
        try:
            answer = encode(perform(task))
        except MemoryError:
            _send(answers, encode(OUT_OF_MEMORY))
            return  # what it holds by now is not worth finding out
        _send(answers, answer)


def _receive(file: BinaryIO) -> Message | None:
    start = file.read(LENGTH_BYTES)
    if len(start) < LENGTH_BYTES:
        return None
    return decode(file.read(decode_length(start)))


def _send(file: BinaryIO, data: bytes) -> None:
    file.write(data)
    file.flush()


def _limit(memory: int) -> None:
    bounds = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,  # it has nothing to write
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_NPROC: 0,
    }
    for kind, most in bounds.items():
        _, hard = resource.getrlimit(kind)
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        try:
            resource.setrlimit(kind, (allowed, allowed))
        except (OSError, ValueError):
            if platform.system() == "Linux":  # others know some of these by name only
                raise


def _allow_processor(seconds: float) -> None:
    """So much from now on. The parent's clock is the limit; this one holds if the parent cannot act on it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    until = int(used.ru_utime + used.ru_stime + seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (until if hard == resource.RLIM_INFINITY else min(until, hard), hard))


def _end_with_parent() -> None:
    """Also in the middle of a check, when nothing reads stdin. Elsewhere than on Linux the end of stdin has to do."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
