"""On what terms a tenant uses a model: what it costs, and how much of it the tenant may have."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from chorus_gateway.caching import TtlCache
from chorus_gateway.prices import price_of
from chorus_gateway.values import Limits, Price, ResolvedModel


@dataclass(frozen=True, slots=True)
class ModelTerms:
    price: Price = field(default_factory=Price)
    limits: Limits = field(default_factory=Limits)  # of this tenant on this adapter; none on a base model


class PriceTables(Protocol):
    async def of_model(self, model: str) -> Mapping[str, Price]: ...


class LimitTables(Protocol):
    async def of_tenant(self, tenant_id: str) -> Mapping[tuple[str, str], Limits]: ...


class Terms:
    """Whole tables are kept, a model's prices and a tenant's limits, so that ten thousand adapters asked for in turn
    cost no more look-ups than one."""

    def __init__(self, prices: PriceTables, limits: LimitTables, *, cache_ttl: float) -> None:
        """`cache_ttl` in seconds bounds how long old terms live on when no event reaches this process."""
        self._prices = prices
        self._limits = limits
        self._price_cache: TtlCache[str, Mapping[str, Price]] = TtlCache(ttl=cache_ttl)
        self._limit_cache: TtlCache[str, Mapping[tuple[str, str], Limits]] = TtlCache(ttl=cache_ttl)

    async def of(self, tenant_id: str, model: ResolvedModel) -> ModelTerms:
        """Unavailable when the database does not answer: nothing is given away because nobody could look."""
        base = model.base.name
        prices = await self._price_cache.get(base, lambda: self._prices.of_model(base))
        if model.adapter is None:
            return ModelTerms(price_of(prices, ""))
        limits = await self._limit_cache.get(tenant_id, lambda: self._limits.of_tenant(tenant_id))
        price = price_of(prices, f"{model.owner}/{model.adapter_name}")
        return ModelTerms(price, limits.get((model.owner, model.adapter_name), Limits()))

    def invalidate(self) -> None:
        self._price_cache.clear()
        self._limit_cache.clear()
