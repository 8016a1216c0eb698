"""Names for generations, such as `prod`."""

from dataclasses import asdict

from chorus_client.reading import read, read_list
from chorus_client.transport import Transport, path
from chorus_client.values import Adapter, AliasChange, Canary


class Aliases:
    """Every method raises ChorusError. New requests follow a change within a second; running ones finish."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def set(self, tenant: str, name: str, alias: str, generation: int, *, canary: Canary | None = None) -> Adapter:
        """The generation that it points at. With a canary, that takes its share of the requests; pointing the alias at
        the canary's generation alone promotes it."""
        body = {"generation": generation, "canary": asdict(canary) if canary else None}
        return read(Adapter, self._transport.json("PUT", _alias(tenant, name, alias), json=body))

    def rollback(self, tenant: str, name: str, alias: str) -> Adapter:
        """Points it at what it pointed at before. A second rollback undoes the first."""
        return read(Adapter, self._transport.json("POST", f"{_alias(tenant, name, alias)}/rollback"))

    def changes(self, tenant: str, name: str, alias: str) -> tuple[AliasChange, ...]:
        """Newest first; the first is what it points at now. The last 100."""
        return read_list(AliasChange, self._transport.json("GET", _alias(tenant, name, alias)))

    def remove(self, tenant: str, name: str, alias: str) -> None:
        self._transport.json("DELETE", _alias(tenant, name, alias))


def _alias(tenant: str, name: str, alias: str) -> str:
    return path("adapters", tenant, name, "aliases", alias)
