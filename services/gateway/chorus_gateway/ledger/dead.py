"""Journals that dead workers left behind."""

import os
from collections.abc import Iterator
from pathlib import Path

from chorus_gateway.ledger import records
from chorus_gateway.ledger.journal import LOCK, SUFFIX, take_lock
from chorus_gateway.ledger.tally import Tally


class DeadJournal:
    """Read by one process at a time: whoever holds its lock. `remove` once all of it is in SQL."""

    def __init__(self, lock_path: Path, lock: int) -> None:
        self.worker_id = lock_path.name.removesuffix(LOCK)
        self._lock_path = lock_path
        self._lock = lock

    def tallies(self, open_ones: dict[str, Tally]) -> Iterator[Tally]:
        """Requests that ended and await nothing. At the end those that do are in `open_ones`, and nothing else is:
        memory is taken for what is open at one time, not for all that the journal tells."""
        for path in self._files():
            for line in records.lines(path.read_bytes()):
                request_id = records.apply(line, open_ones)
                tally = open_ones.get(request_id)
                if tally is not None and tally.closing is not None and tally.settled:
                    yield open_ones.pop(request_id)

    def remove(self) -> None:
        for path in self._files():
            path.unlink(missing_ok=True)
        self._lock_path.unlink(missing_ok=True)

    def close(self) -> None:
        """What is left of it another worker may have."""
        os.close(self._lock)

    def _files(self) -> list[Path]:
        return sorted(self._lock_path.parent.glob(f"{self.worker_id}.*{SUFFIX}"))


def find_dead(folder: Path) -> list[DeadJournal]:
    """Each is locked by us from now on."""
    locks = ((path, take_lock(path)) for path in sorted(folder.glob(f"*{LOCK}")))
    return [DeadJournal(path, lock) for path, lock in locks if lock is not None]
