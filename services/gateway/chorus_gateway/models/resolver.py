"""Names to digests, once a request."""

from dataclasses import dataclass
from typing import Protocol

from chorus_gateway.adapters import Adapter, Resolution
from chorus_gateway.caching import TtlCache
from chorus_gateway.errors import InvalidRequest, ModelNotFound, NotFound
from chorus_gateway.models.allowed import allows_adapter, allows_base
from chorus_gateway.models.canary import in_canary
from chorus_gateway.models.names import AdapterName, parse_adapter, split_base
from chorus_gateway.models.namespace import cache_namespace
from chorus_gateway.values import NOTHING, BaseModel, Needs, ResolvedModel, Tenant

LATEST = "latest"  # what a name without a version means
OUTLAST = 600.0  # seconds for which a name that was looked up is known while the store is away


class BaseModels(Protocol):
    """The base models that known engines serve."""

    def get(self, name: str) -> BaseModel | None: ...

    def all(self) -> tuple[BaseModel, ...]: ...


class AdapterCatalog(Protocol):
    """Both raise Unavailable while the store is away."""

    async def resolve(self, tenant: str, *, owner: str, name: str, model: str, version: str) -> Resolution: ...

    async def list(self, tenant: str = "", *, usable: bool = False) -> tuple[Adapter, ...]: ...


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One entry of `/v1/models`."""

    id: str  # as `model=` takes it
    created: int  # seconds since 1970
    owned_by: str  # the tenant, or "chorus" for a base model
    parent: str | None = None  # the base model of an adapter


@dataclass(frozen=True, slots=True)
class _Lookup:
    tenant: str
    base: str
    adapter: AdapterName

    @property
    def owner(self) -> str:
        return self.adapter.owner or self.tenant


@dataclass(frozen=True, slots=True)
class _Found:
    """What is kept of a generation; nothing where the base model itself is meant."""

    digest: str | None = None
    generation: int = 0
    needs: Needs = NOTHING

    @classmethod
    def of(cls, adapter: Adapter) -> "_Found":
        return cls(adapter.digest, adapter.generation, Needs(adapter.rank, adapter.outer_modules))


_BASE = _Found()


@dataclass(frozen=True, slots=True)
class _Choice:
    main: _Found
    canary: _Found | None
    percent: int

    def choose(self, lookup: _Lookup, chooser: str) -> _Found:
        if self.canary is None:
            return self.main
        alias = (lookup.owner, lookup.adapter.name, lookup.adapter.version or LATEST)
        return self.canary if in_canary(alias, lookup.tenant, chooser, self.percent) else self.main


class Resolver:
    def __init__(
        self, bases: BaseModels, adapters: AdapterCatalog, *, namespace_secret: bytes, cache_ttl: float = 1.0
    ) -> None:
        """`cache_ttl` in seconds bounds how long a moved alias, or an adapter that was deleted or withdrawn, is served
        on when no event came. While the store is away and events are heard, what was known is served on."""
        self._bases = bases
        self._adapters = adapters
        self._secret = namespace_secret
        self._cache: TtlCache[_Lookup, _Choice | None] = TtlCache(ttl=cache_ttl, outlast=OUTLAST)

    async def resolve(
        self, tenant: Tenant, name: str, chooser: str = "", allowed: frozenset[str] | None = None
    ) -> ResolvedModel:
        """`chooser` decides between an alias's two generations: the same one, the same generation, for as long as the
        shares stay. `allowed` are the models that the asking key may use (Principal.models).

        ModelNotFound, always in the same words, when there is no such model, or `tenant` or the key may not use it.
        """
        base = self._bases.get(name)
        if base is not None:
            if not allows_base(allowed, name):
                raise not_found(name)
            return self._resolved(tenant, name, base)
        found = self._split(name)
        if found is None:
            raise not_found(name)
        base, adapter = found
        lookup = _Lookup(tenant.id, base.name, adapter)
        choice = await self._cache.get(lookup, lambda: self._look_up(lookup))
        # Looked up all the same: what a key may not use takes the time of what does not exist.
        if choice is None or not allows_adapter(allowed, base.name, lookup.owner, adapter.name, tenant.id):
            raise not_found(name)
        return self._resolved(tenant, name, base, choice.choose(lookup, chooser), lookup)

    async def list(self, tenant: Tenant, allowed: frozenset[str] | None = None) -> tuple[ModelCard, ...]:
        """Base models first, then the adapters on them that the tenant may use, its own and others', each once, with
        its latest upload's time. Of those, what the asking key may use."""
        bases = {base.name: base for base in self._bases.all()}
        cards = {
            name: ModelCard(name, base.created, "chorus") for name, base in bases.items() if allows_base(allowed, name)
        }
        for adapter in await self._adapters.list(tenant.id, usable=True):
            mine = allows_adapter(allowed, adapter.model, adapter.tenant, adapter.name, tenant.id)
            if adapter.model in bases and mine:
                owner = "" if adapter.tenant == tenant.id else f"{adapter.tenant}/"
                name = f"{adapter.model}@{owner}{adapter.name}"
                # Newest generation first.
                cards.setdefault(name, ModelCard(name, int(adapter.created_at), adapter.tenant, adapter.model))
        return tuple(cards.values())

    def invalidate(self, owner: str, name: str) -> None:
        """For whoever asked for this adapter."""
        self._cache.invalidate_where(lambda lookup: lookup.owner == owner and lookup.adapter.name == name)

    def hears(self, *, all_events: bool) -> None:
        """Whether `invalidate` is called for whatever changes from now on. What was known is not any more."""
        self._cache.clear()
        self._cache.outlasting = all_events

    def _split(self, name: str) -> tuple[BaseModel, AdapterName] | None:
        base_name, rest = split_base(name)
        base = self._bases.get(base_name) if "@" in name else self._only_base()
        adapter = parse_adapter(rest)
        return (base, adapter) if base and adapter else None

    def _only_base(self) -> BaseModel | None:
        """A bare adapter name says which base it means only where there is no choice."""
        bases = self._bases.all()
        return bases[0] if len(bases) == 1 else None

    async def _look_up(self, lookup: _Lookup) -> _Choice | None:
        adapter = lookup.adapter
        try:
            found = await self._adapters.resolve(
                lookup.tenant, owner=adapter.owner, name=adapter.name, model=lookup.base, version=adapter.version
            )
        except (NotFound, InvalidRequest):
            return None
        canary = None if found.canary is None else _Found.of(found.canary)
        return _Choice(_Found.of(found.adapter), canary, found.percent)

    def _resolved(
        self, tenant: Tenant, name: str, base: BaseModel, found: _Found = _BASE, lookup: _Lookup | None = None
    ) -> ResolvedModel:
        return ResolvedModel(
            requested=name,
            base=base,
            adapter=found.digest,
            namespace=cache_namespace(self._secret, tenant=tenant.id, adapter=found.digest, base=base.digest),
            owner=lookup.owner if lookup else "",
            adapter_name=lookup.adapter.name if lookup else "",
            generation=found.generation,
            needs=found.needs,
        )


def not_found(name: str) -> ModelNotFound:
    return ModelNotFound(
        f"The model '{name}' does not exist or you do not have access to it.", param="model", code="model_not_found"
    )
