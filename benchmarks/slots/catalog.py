"""What random operations know of a tenant's adapters: which weights a name may mean, and may have meant just now."""

import random
import time
from dataclasses import dataclass, field

GRACE = 1.0  # seconds after which a change has reached every gateway
ABSENT = ""  # the digest of a name that nothing answers to


@dataclass
class Target:
    """What a name or an alias points at."""

    digest: str = ABSENT
    before: list[tuple[float, str]] = field(default_factory=list)  # (until, digest)
    unsure: bool = False  # a change may or may not have happened

    def point(self, digest: str) -> None:
        self.before = [(until, old) for until, old in self.before if time.monotonic() - until < GRACE]
        self.before.append((time.monotonic(), self.digest))
        self.digest = digest

    def allowed(self, since: float) -> set[str]:
        """Digests that a request which was sent at `since` may have been answered with."""
        return {self.digest} | {old for until, old in self.before if since - until < GRACE}


@dataclass
class Entry:
    """A name of the tenant."""

    generations: dict[int, str] = field(default_factory=dict)  # number -> digest
    latest: Target = field(default_factory=Target)
    prod: Target = field(default_factory=Target)
    pinned: bool = False


class Catalog:
    """By name. A name whose last change may or may not have happened is given up."""

    def __init__(self, draw: random.Random) -> None:
        self.entries: dict[str, Entry] = {}
        self._draw = draw
        self._made = 0

    def fresh(self) -> str:
        self._made += 1
        return f"n{self._made}"

    def any(self) -> str | None:
        return self._draw.choice(sorted(self.entries)) if self.entries else None

    def give_up(self, name: str) -> None:
        if (entry := self.entries.pop(name, None)) is not None:
            entry.latest.unsure = entry.prod.unsure = True

    def deleted(self, name: str) -> None:
        entry = self.entries.pop(name)
        entry.latest.point(ABSENT)
        entry.prod.point(ABSENT)

    def uploaded(self, name: str, generation: int, digest: str) -> None:
        entry = self.entries.setdefault(name, Entry())
        entry.generations[generation] = digest
        entry.latest.point(digest)

    def target(self, name: str) -> tuple[str, Target]:
        """A way to write the name, and what it means."""
        entry = self.entries[name]
        if entry.prod.digest and self._draw.random() < 0.4:
            return f"{name}:prod", entry.prod
        return name, entry.latest
