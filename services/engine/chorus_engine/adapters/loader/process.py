"""The loader's process, from its start to its end."""

import socket
import subprocess
import sys

from chorus_engine.adapters.region import Region


class LoaderProcess:
    """Begins to import what it needs, which takes seconds, and waits for the first message.

    It ends with its engine, whose end of the sockets is gone then. A new program, not a fork of the engine: that has
    threads, and a device.
    """

    def __init__(self, region: Region, niceness: int) -> None:
        self.socket, theirs = socket.socketpair()
        descriptors = (theirs.fileno(), region.descriptor)
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "chorus_engine.adapters.loader"),
                *map(str, (*descriptors, region.size, niceness)),
            ],
            stdin=subprocess.DEVNULL,
            pass_fds=descriptors,
            start_new_session=True,  # what is sent to the engine's terminal is the engine's to obey
        )
        theirs.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def end(self) -> int:
        """At once. When this returns, nothing writes to the region any more; its exit status."""
        self._process.kill()
        self.socket.close()
        return self._process.wait()
