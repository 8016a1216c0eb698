"""How many bytes an adapter takes in an engine."""

from collections.abc import Iterable, Mapping

from chorus_adapter_store.placement.fleet import Engine
from chorus_adapter_store.values import PlacedFile, Tier


class Sizes:
    """As an engine of the base found it, or else, until one has it, as it was uploaded."""

    def __init__(self, engines: Iterable[Engine], files: Mapping[str, PlacedFile]) -> None:
        self._files = files
        self._seen: dict[tuple[str, Tier], int] = {}
        for engine in engines:
            for held in engine.held.values():
                key = held.digest, held.tier
                self._seen[key] = max(self._seen.get(key, 0), held.bytes)

    def of(self, digest: str, tier: Tier) -> int:
        """At least 1, unless it is not known at all."""
        seen = self._seen.get((digest, tier), 0)
        file = self._files.get(digest)
        return seen or (max(1, file.size) if file else 0)
