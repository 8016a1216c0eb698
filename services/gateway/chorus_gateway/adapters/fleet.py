"""Where adapters are: pins, which keep them on engines, and what each engine holds."""

from chorus_gateway.adapters import messages
from chorus_gateway.adapters.calls import StoreCalls
from chorus_gateway.adapters.values import Engine, Pin, Tier
from chorus_gateway.errors import NotFound, Unavailable
from chorus_proto.adapters.v1 import adapters_pb2 as pb


class FleetClient:
    def __init__(self, calls: StoreCalls) -> None:
        self._calls = calls

    async def set_pin(self, tenant: str, name: str, *, version: str, tier: Tier, engines: int) -> Pin:
        """An empty version is `latest`, 0 engines are all. Conflict when engines may not pin as much."""
        request = pb.SetPinRequest(
            tenant=tenant, name=name, version=version, tier=messages.TIERS[tier], engines=engines
        )
        return messages.pin((await self._calls.ask(self._calls.stub.SetPin, request)).pin)

    async def remove_pin(self, tenant: str, name: str) -> None:
        """NotFound when it is not pinned."""
        await self._calls.ask(self._calls.stub.RemovePin, pb.RemovePinRequest(tenant=tenant, name=name))

    async def pins(self, tenant: str = "") -> tuple[Pin, ...]:
        """An empty tenant is everybody."""
        found = await self._calls.ask(self._calls.stub.ListPins, pb.ListPinsRequest(tenant=tenant))
        return tuple(map(messages.pin, found.pins))

    async def pin(self, tenant: str, name: str) -> Pin:
        """NotFound when it is not pinned."""
        for pin in await self.pins(tenant):
            if pin.name == name:
                return pin
        raise NotFound(f"The adapter '{name}' of tenant '{tenant}' is not pinned.")

    async def engines(self, digest: str = "") -> tuple[Engine, ...]:
        """All that are alive, or those that hold a digest. Unavailable while Redis is away."""
        try:
            found = await self._calls.ask(self._calls.stub.ListEngines, pb.ListEnginesRequest(digest=digest))
        except Unavailable as error:
            raise Unavailable(
                "The adapter store, or Redis, where engines say what they hold, does not answer; try again in a moment."
            ) from error
        return tuple(map(messages.engine, found.engines))
