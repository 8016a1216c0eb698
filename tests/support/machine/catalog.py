"""What a store's catalog would tell its placer, without a database."""

from collections.abc import Collection

from chorus_adapter_store.values import AdapterName, Pin, PlacedFile, Tier, Usage
from chorus_engine.core.spec import AdapterFootprint
from tests.support.machine.heart import MODEL


class MachineCatalog:
    """Adapters by digest, names with their generations, pins, terms and usage."""

    def __init__(self) -> None:
        self.footprints: dict[str, AdapterFootprint] = {}
        self.generations: dict[str, list[str]] = {}  # by name: digests, the newest last
        self.pinned: dict[str, Tier] = {}  # by name
        self._term = 0

    @property
    def usable(self) -> list[str]:
        return [digest for digests in self.generations.values() for digest in digests]

    def publish(self, name: str, footprint: AdapterFootprint) -> None:
        self.footprints[footprint.digest] = footprint
        self.generations.setdefault(name, []).append(footprint.digest)

    def delete(self, name: str) -> None:
        del self.generations[name]
        self.pinned.pop(name, None)

    # ---------------------------------------------------------------- as the placer asks

    async def take(self, above: int = 0) -> int:
        self._term = max(self._term, above) + 1
        return self._term

    async def files(self, digests: Collection[str]) -> dict[str, PlacedFile]:
        usable = set(self.usable)
        return {digest: self._file(digest) for digest in digests if digest in usable}

    async def pointed(self, adapter: AdapterName, alias: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        digests = self.generations.get(adapter.name, [])
        return tuple(digests[-1:]), tuple(digests[-2:-1])

    async def all(self, tenant: str = "") -> tuple[tuple[Pin, tuple[PlacedFile, ...]], ...]:
        return tuple(
            (Pin(AdapterName("t", name), "latest", tier), (self._file(self.generations[name][-1]),))
            for name, tier in sorted(self.pinned.items())
        )

    async def read(self) -> tuple[Usage, ...]:
        return ()

    async def replace(self, base_digest: str, used: object) -> None:
        pass

    def _file(self, digest: str) -> PlacedFile:
        footprint = self.footprints[digest]
        rank = max(rank for _, _, rank in footprint.ranks)
        return PlacedFile(digest, frozenset({MODEL}), rank, footprint.bytes)
