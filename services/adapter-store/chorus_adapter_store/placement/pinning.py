"""Pins and engines, for those who administrate them."""

from collections.abc import Iterable, Sequence

from redis.exceptions import RedisError

from chorus_adapter_store.catalog import Catalog, PinCatalog
from chorus_adapter_store.errors import InvalidArgument, Precondition, Unavailable
from chorus_adapter_store.names import checked_name, quote
from chorus_adapter_store.placement.fleet import Engine
from chorus_adapter_store.placement.pins import assign
from chorus_adapter_store.placement.situation import PinWish
from chorus_adapter_store.placement.sizes import Sizes
from chorus_adapter_store.placement.view import View
from chorus_adapter_store.values import LATEST, AdapterName, Pin, PinStatus, PlacedFile, Tier

_MOST_ENGINES = 1000
_PLACE = {Tier.GPU: "in slots", Tier.HOST: "in host memory"}


class Pinning:
    """Every method raises Unavailable when the database is away."""

    def __init__(self, catalog: Catalog, pins: PinCatalog, view: View) -> None:
        self._catalog = catalog
        self._pins = pins
        self._view = view

    async def set(self, tenant: str, name: str, version: str, tier: Tier, engines: int) -> PinStatus:
        """Replaces the name's pin. Raises InvalidArgument, NotFound in the words that resolving tells an owner, and
        Precondition when the engines that are there would not have room for all pins. While none is there it is kept,
        and the placer says in its log when those that come have no room."""
        adapter = AdapterName(checked_name("tenant", tenant), checked_name("name", name))
        if engines > _MOST_ENGINES:
            raise InvalidArgument("engines", f"{engines} is over {_MOST_ENGINES}; 0 is all")
        found = await self._catalog.resolve(tenant, tenant, name, "", version)
        number = version.isascii() and version.isdigit()
        pin = Pin(adapter, str(int(version)) if number else version or LATEST, tier, engines)
        generations = (found.generation, *((found.canary,) if found.canary else ()))
        model = found.generation.model
        files = [
            PlacedFile(each.digest, frozenset({model}), each.facts.rank, each.weights.size, each.facts.outer_modules)
            for each in generations
        ]
        seen = await self._seen()
        await self._check_room(pin, model, files, [each for each in seen if each.model == model and each.placeable])
        await self._pins.set(pin)
        return PinStatus(pin, _held(pin, files, seen))

    async def remove(self, tenant: str, name: str) -> None:
        """Raises InvalidArgument, NotFound."""
        await self._pins.remove(AdapterName(checked_name("tenant", tenant), checked_name("name", name)))

    async def all(self, tenant: str) -> tuple[PinStatus, ...]:
        """A tenant's, or with an empty tenant everyone's, by owner and name; nothing is held while Redis is away."""
        if tenant:
            checked_name("tenant", tenant)
        pins = await self._pins.all(tenant)
        seen = await self._seen() if pins else ()
        return tuple(PinStatus(pin, _held(pin, files, seen)) for pin, files in pins)

    async def engines(self, digest: str = "") -> tuple[Engine, ...]:
        """Those that are alive, or those of them that hold a digest. Raises Unavailable when Redis is away."""
        try:
            found = (await self._view.engines()).engines
        except (RedisError, OSError) as error:
            raise Unavailable("Redis, which knows the engines, did not answer; try again later") from error
        return tuple(each for each in found if not digest or digest in each.held)

    async def _seen(self) -> tuple[Engine, ...]:
        """None while Redis is away: the pin is kept, and engines have it when they can."""
        try:
            return await self.engines()
        except Unavailable:
            return ()

    async def _check_room(self, pin: Pin, model: str, files: Sequence[PlacedFile], engines: Sequence[Engine]) -> None:
        if not engines:
            return
        others = [
            PinWish(file, other.tier, other.engines)
            for other, meant in await self._pins.all()
            for file in meant
            if other.adapter != pin.adapter and model in file.models
        ]
        wishes = [*others, *(PinWish(file, pin.tier, pin.engines) for file in files)]
        sizes = Sizes(engines, {each.file.digest: each.file for each in wishes})
        assigned = assign(engines, wishes, sizes)
        for file in files:
            if any(each.file.digest == file.digest for each in assigned.short):
                room = sum(file.digest in tiers for tiers in assigned.tiers.values())
                wanted = min(pin.engines or len(engines), len(engines))
                raise Precondition(
                    f"engines: adapter {quote(pin.adapter.name)} takes {sizes.of(file.digest, pin.tier)} bytes "
                    f"{_PLACE[pin.tier]}, for which {room} of the {wanted} engines wanted have room beside other pins "
                    "(half of their memory for adapters); pin it on fewer, or remove another pin"
                )


def _held(pin: Pin, files: Sequence[PlacedFile], engines: Iterable[Engine]) -> int:
    digests = [each.digest for each in files]
    return sum(
        bool(digests) and all((held := each.held.get(d)) is not None and held.pinned is pin.tier for d in digests)
        for each in engines
    )
