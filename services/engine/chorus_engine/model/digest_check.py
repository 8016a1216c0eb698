"""Whether the files of a base are what the cache of digests says of them, found out while the engine serves."""

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from chorus_engine.model.digest import Remembered, file_key, forget

log = logging.getLogger(__name__)

RATE = 100 << 20  # bytes a second: a tenth of what a core hashes, and little of what a disk reads
CHUNK = 1 << 20  # bytes; hashing one leaves the interpreter to others
LEAST_PRIORITY = 19


class DigestCheck:
    """Reads the files once more on a thread of its own, slowly and after everybody else.

    A base that is not what its digest says has been taken for another: its adapters were made for other weights. Then
    one line is logged, the cache forgets the file, and `changed` is called on the thread; the next start reads it.
    """

    def __init__(
        self,
        files: Sequence[Remembered],
        cache: Path,
        changed: Callable[[], None],
        rate: float = RATE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """rate: bytes a second."""
        self._files = files
        self._cache = cache
        self._changed = changed
        self._rate = rate
        self._clock = clock
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="digest-check", daemon=True)

    def start(self) -> None:
        if self._files:
            self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        with suppress(OSError, AttributeError):  # on Linux a thread has a priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LEAST_PRIORITY)
        for file in self._files:
            try:
                same = self._is_same(file)
            except OSError as error:
                log.warning("the base's digest is not checked", extra={"file": str(file.path), "error": str(error)})
                return
            if self._stopped.is_set():
                return
            if not same:
                self._tell(file)
                return
        log.info("the base's digest is right", extra={"files": len(self._files)})

    def _is_same(self, file: Remembered) -> bool:
        """True as well for a file that was replaced since the start: what was loaded is gone. Raises OSError."""
        digest = self._hash(file.path)
        return digest == file.digest or file_key(file.path) != file.key

    def _hash(self, path: Path) -> str:
        """Of as much as was read until `stop`. Raises OSError."""
        sha256, read, began = hashlib.sha256(), 0, self._clock()
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK):
                sha256.update(chunk)
                read += len(chunk)
                if self._stopped.wait(max(0.0, began + read / self._rate - self._clock())):
                    break
        return sha256.hexdigest()

    def _tell(self, file: Remembered) -> None:
        forget(self._cache, file.key)
        log.error(
            f"{file.path} is not what its digest was computed from, though size and time are the same: adapters would "
            "be matched to other weights; the engine ends, and its next start reads the file anew",
            extra={"file": str(file.path)},
        )
        self._changed()
