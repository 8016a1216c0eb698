"""One worker's journal: files that only grow, and a lock that tells whether the worker lives.

    <worker>.lock            held (flock) for the life of the process
    <worker>.00000001.log    whole lines; the highest number is being written

What was written survives the process, however it ends: the kernel has it. What a crash of the machine loses is up to
how often `sync` is called.
"""

import errno
import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from chorus_gateway.errors import StartError

FILE_BYTES = 8 << 20
QUIET_SECONDS = 60.0
SUFFIX, LOCK = ".log", ".lock"


class Journal:
    """`append` raises OSError when the disk does. Lines are referred to by their file's number: each entry holds the
    file of its admission until its row is in SQL, and a file goes when nothing holds it or any older one."""

    def __init__(
        self,
        folder: Path,
        worker_id: str,
        *,
        file_bytes: int = FILE_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """StartError when the folder cannot be written to."""
        self._folder = folder
        self._worker_id = worker_id
        self._file_bytes = file_bytes
        self._clock = clock
        self._held: dict[int, int] = {}  # file → entries, in the files' order; the last is being written
        self._written = 0  # bytes of the last file
        self._began = 0.0
        self._torn = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = _make_lock(self._path(LOCK))
            self._file = self._open(1)
        except OSError as error:
            raise StartError(
                f"The journal of usage in {folder} cannot be written: {error.strerror}; "
                "free the disk, or set CHORUS_JOURNAL_DIR to a folder that the gateway may write to."
            ) from error

    @property
    def files(self) -> int:
        return len(self._held)

    @property
    def oldest(self) -> int:
        return next(iter(self._held))

    def append(self, line: bytes) -> None:
        """In the kernel's hands when it returns."""
        if self._written >= self._file_bytes:
            with suppress(OSError):  # then the old file goes on
                self._rotate()
        # After a line that did not go in whole, this one must not be taken for its end.
        data = b"\n" + line if self._torn else line
        done = os.write(self._file, data)
        self._written += done
        self._torn = done < len(data)
        if self._torn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def hold(self) -> int:
        """The file that the last line went into."""
        serial = self._last
        self._held[serial] += 1
        return serial

    def release(self, serial: int) -> None:
        """An entry whose row is in SQL."""
        self._held[serial] -= 1
        while len(self._held) > 1 and not next(iter(self._held.values())):
            self._remove(next(iter(self._held)))

    def tidy(self) -> None:
        """A worker with nothing to do keeps no old lines: they would be read by its heir."""
        if self._written and not any(self._held.values()) and self._clock() - self._began > QUIET_SECONDS:
            self._rotate()

    def sync(self) -> None:
        """To the disk itself. May be called from another thread."""
        handle = os.dup(self._file)
        try:
            os.fdatasync(handle)
        finally:
            os.close(handle)

    def close(self) -> None:
        """What is held stays for another worker."""
        if not any(self._held.values()):
            for serial in list(self._held):
                self._remove(serial)
            self._path(LOCK).unlink(missing_ok=True)
        self.abandon()

    def abandon(self) -> None:
        """Lets go of the files as they are, as the end of the process does."""
        os.close(self._file)
        os.close(self._lock)
        self._file = self._lock = -1  # what is told later must not go into whatever has their numbers then

    @property
    def _last(self) -> int:
        return next(reversed(self._held))

    def _rotate(self) -> None:
        """The new file first: without one, the old one goes on."""
        before, previous = self._file, self._last
        self._file = self._open(previous + 1)
        os.close(before)
        if not any(self._held.values()):
            for serial in list(self._held)[:-1]:
                self._remove(serial)

    def _open(self, serial: int) -> int:
        handle = os.open(self._file_path(serial), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._held[serial] = self._written = 0
        self._torn, self._began = False, self._clock()
        return handle

    def _remove(self, serial: int) -> None:
        del self._held[serial]
        self._file_path(serial).unlink(missing_ok=True)

    def _file_path(self, serial: int) -> Path:
        return self._path(f".{serial:08}{SUFFIX}")

    def _path(self, ending: str) -> Path:
        return self._folder / f"{self._worker_id}{ending}"


def _make_lock(path: Path) -> int:
    """Held before anybody can see it: what is not held is taken for a dead worker's."""
    hidden = path.with_suffix(".new")
    handle = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    hidden.rename(path)
    return handle


def take_lock(path: Path) -> int | None:
    """A descriptor that holds it until it is closed; None while another process does, or when it is not there."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    if not os.fstat(handle).st_nlink:  # its holder removed it in between
        os.close(handle)
        return None
    return handle
