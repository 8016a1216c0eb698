"""The admin API as one object."""

import os
from types import TracebackType

import httpx

from chorus_client.adapters import Adapters
from chorus_client.aliases import Aliases
from chorus_client.audit import Audit
from chorus_client.fleet import Engines, Pins
from chorus_client.keys import Keys
from chorus_client.prices import Prices
from chorus_client.tenants import Tenants
from chorus_client.transport import connect
from chorus_client.usage import UsageReports


class ChorusAdmin:
    """Its parts are nouns: `tenants`, `keys`, `prices`, `usage`, `adapters`, `aliases`, `pins`, `engines`, `audit`.
    Threads may share it."""

    def __init__(
        self,
        base_url: str,
        admin_key: str,
        *,
        timeout: float = 60.0,
        retries: int = 2,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`base_url`: the gateway's, such as http://127.0.0.1:8000; one that ends with /v1 will do. `timeout`: seconds
        without a byte, of all calls but uploads and imports, which may take a quarter of an hour to be checked.
        `retries`: further attempts when the gateway asks for them (429, 503) or nothing listens. `transport`: httpx's,
        for proxies and certificates of one's own."""
        self._transport = connect(base_url, admin_key, timeout=timeout, retries=retries, transport=transport)
        self.base_url = self._transport.base_url
        self.tenants = Tenants(self._transport)
        self.keys = Keys(self._transport)
        self.prices = Prices(self._transport)
        self.usage = UsageReports(self._transport)
        self.adapters = Adapters(self._transport)
        self.aliases = Aliases(self._transport)
        self.pins = Pins(self._transport)
        self.engines = Engines(self._transport)
        self.audit = Audit(self._transport)

    @classmethod
    def from_environment(cls) -> "ChorusAdmin":
        """By CHORUS_BASE_URL and CHORUS_ADMIN_KEY, as `make up` writes them to .chorus/env. KeyError without them."""
        return cls(os.environ["CHORUS_BASE_URL"], os.environ["CHORUS_ADMIN_KEY"])

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> "ChorusAdmin":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ChorusAdmin({self.base_url!r}, '…')"
