"""Where adapters are: pins, which keep them on engines, and the engines; and what goes on there."""

from chorus_client.reading import read, read_list
from chorus_client.transport import Transport, path
from chorus_client.values import Engine, Live, Pin, Tier


class Pins:
    """Every method raises ChorusError."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def set(self, tenant: str, name: str, *, version: str = "latest", tier: Tier = Tier.GPU, engines: int = 0) -> Pin:
        """On how many engines of its base, 0 for all. It replaces the name's pin. Conflict when engines may not pin as
        much."""
        body = {"version": version, "tier": tier, "engines": engines}
        return read(Pin, self._transport.json("PUT", _pin(tenant, name), json=body))

    def get(self, tenant: str, name: str) -> Pin:
        """NotFound when it is not pinned."""
        return read(Pin, self._transport.json("GET", _pin(tenant, name)))

    def remove(self, tenant: str, name: str) -> None:
        self._transport.json("DELETE", _pin(tenant, name))

    def list(self, tenant: str = "") -> tuple[Pin, ...]:
        """A tenant's, or everyone's, by owner and name."""
        return read_list(Pin, self._transport.json("GET", path("pins"), params={"tenant": tenant}))


class Engines:
    """Every method raises ChorusError."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> tuple[Engine, ...]:
        """Those that are alive, as they say of themselves."""
        return read_list(Engine, self._transport.json("GET", path("engines")))

    def drain(self, engine: str) -> None:
        """No gateway sends it anything more; what runs there ends. It stays so until `undrain`."""
        self._transport.json("POST", path("engines", engine, "drain"))

    def undrain(self, engine: str) -> None:
        self._transport.json("DELETE", path("engines", engine, "drain"))

    def live(self, *, most: int = 100) -> Live:
        """What engines do at this moment, and `most` tenants."""
        return read(Live, self._transport.json("GET", path("live"), params={"limit": most}))


def _pin(tenant: str, name: str) -> str:
    return path("adapters", tenant, name, "pin")
