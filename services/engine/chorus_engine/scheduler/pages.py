"""The pages of the adapter pool: one for each (layer, module), of equal size but for those outside the layers."""

from collections.abc import Iterable, Iterator

from chorus_engine.core.plan import ModulePages
from chorus_engine.core.spec import OUTER_LAYER, AdapterFootprint

PoolKey = tuple[int, str]  # (layer or OUTER_LAYER, module path)


class PagePools:
    """A pool exists from the first adapter that has its module; until then all its pages are free."""

    def __init__(self, pages: int, page_rows: int, outer_pages: int = 0, max_rank: int = 0) -> None:
        """`max_rank`: of any adapter, in rows; 0 is unknown."""
        self._pages = pages  # of each pool
        self._outer_pages = outer_pages  # of each pool outside the layers
        self.page_rows = page_rows
        self._max_rank = max_rank
        self._free: dict[PoolKey, list[int]] = {}

    def size(self, pool: PoolKey) -> int:
        """Pages of the pool, free or not."""
        return self._outer_pages if pool[0] == OUTER_LAYER else self._pages

    def pinnable(self, pool: PoolKey) -> int:
        """Pages that pins may take: half, or less where the largest adapter needs more than the other half."""
        size = self.size(pool)
        return max(0, min(size // 2, size - self._pages_for(self._max_rank)))

    def needs(self, footprint: AdapterFootprint) -> Iterator[tuple[PoolKey, int]]:
        """(pool, pages) for each module that the adapter has."""
        for layer, module, rank in footprint.ranks:
            yield (layer, module), self._pages_for(rank)

    def free(self, pool: PoolKey) -> int:
        pages = self._free.get(pool)
        return self.size(pool) if pages is None else len(pages)

    def fits(self, footprint: AdapterFootprint) -> bool:
        return all(count <= self.free(pool) for pool, count in self.needs(footprint))

    def missing(self, footprint: AdapterFootprint) -> dict[PoolKey, int]:
        """Pages that the pools lack for the adapter; pools that lack none are left out."""
        return {pool: count - self.free(pool) for pool, count in self.needs(footprint) if count > self.free(pool)}

    def allocate(self, footprint: AdapterFootprint) -> tuple[ModulePages, ...]:
        """Pages for every module. The caller has asked `fits`."""
        return tuple(
            ModulePages(layer, module, rank, self._take((layer, module), self._pages_for(rank)))
            for layer, module, rank in footprint.ranks
        )

    def release(self, modules: Iterable[ModulePages]) -> None:
        for module in modules:
            self._free[module.layer, module.module].extend(module.pages)

    def _pages_for(self, rank: int) -> int:
        return -(-rank // self.page_rows)

    def _take(self, pool: PoolKey, count: int) -> tuple[int, ...]:
        free = self._free.get(pool)
        if free is None:
            free = self._free[pool] = list(range(self.size(pool) - 1, -1, -1))
        assert count <= len(free), f"{count} pages asked of pool {pool}, {len(free)} free"
        pages = tuple(free[: -count - 1 : -1])
        del free[-count:]
        return pages

    def check(self, owned: Iterable[ModulePages]) -> None:
        """free + owned == total in each pool, and nothing is owned twice."""
        seen = {pool: list(free) for pool, free in self._free.items()}
        for module in owned:
            seen[module.layer, module.module].extend(module.pages)
        for pool, pages in seen.items():
            assert sorted(pages) == list(range(self.size(pool))), f"pages of pool {pool} leaked or doubled"
