"""Whether a log is what was written: read from the first entry to the last."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from chorus_gateway.audit.entry import GENESIS, Entry, chained


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry of a log at some time. Who keeps one elsewhere sees later whether all up to it is still there."""

    seq: int = 0
    hash: str = GENESIS


@dataclass(frozen=True, slots=True)
class Verdict:
    entries: int  # that were read and found good
    head: Head  # the last of those
    seq: int | None = None  # of the first entry that is not what was written
    reason: str | None = None

    @property
    def ok(self) -> bool:
        return self.reason is None


@dataclass(slots=True)
class Verifier:
    """Told entry by entry, in order."""

    known: Head | None = None  # that the log had before
    head: Head = field(default_factory=Head)
    broken: Verdict | None = None

    def read(self, entries: Iterable[Entry]) -> bool:
        """Whether all is good so far."""
        for entry in entries:
            reason = self._fault(entry)
            if reason is not None:
                seq = min(entry.seq, self.head.seq + 1)
                self.broken = Verdict(self.head.seq, self.head, seq, reason)
                return False
            self.head = Head(entry.seq, entry.hash)
        return True

    def verdict(self) -> Verdict:
        """At the log's end."""
        if self.broken is None and self.known is not None and self.head.seq < self.known.seq:
            missing = self.head.seq + 1
            return Verdict(self.head.seq, self.head, missing, f"entry {missing} and those after it are missing")
        return self.broken or Verdict(self.head.seq, self.head)

    def _fault(self, entry: Entry) -> str | None:
        expected = self.head.seq + 1
        if entry.seq < expected:
            return f"there is no entry {entry.seq} in a log, which begins with 1"
        if entry.seq > expected:
            return f"entry {expected} is missing"
        if entry.prev_hash != self.head.hash:
            return f"it does not follow entry {self.head.seq}, which was replaced, or it was"
        if entry.hash != chained(entry.seq, entry.prev_hash, entry.change):
            return "its hash is not that of its content"
        if self.known is not None and entry.seq == self.known.seq and entry.hash != self.known.hash:
            return "its hash is not the one that was known: it or one before it was replaced"
        return None
