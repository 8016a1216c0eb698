"""Run a command that ends when its parent does, however that ends.

usage: python scripts/stack/leash.py COMMAND [ARGUMENT ...]

Without it a stack whose supervisor was killed outright would leave its services behind. Linux only; elsewhere the
command just runs.
"""

import contextlib
import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with_parent(number: int) -> None:
    """The kernel sends `number` to this process when its parent ends."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


if __name__ == "__main__":
    parent = os.getppid()
    end_with_parent(signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(1)  # it ended before we asked
    try:
        os.execvp(sys.argv[1], sys.argv[1:])
    except OSError as error:
        sys.exit(f"{sys.argv[1]}: {error.strerror}")
