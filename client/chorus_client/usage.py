"""What was used, from the ledger."""

from collections.abc import Iterable, Iterator
from datetime import datetime

import httpx

from chorus_client.accounts import Usage
from chorus_client.errors import Unreachable
from chorus_client.reading import read_list
from chorus_client.transport import Transport, path, why
from chorus_client.writing import moment

OWN = "/v1/usage"  # of a tenant's own key


class UsageReports:
    """Every method raises ChorusError. All that is not given is all there is; `start` is in it, `end` is not."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def sums(
        self,
        by: Iterable[str] = ("tenant",),
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        tenant: str = "",
        key: str = "",
        adapter: str = "",
        model: str = "",
        own: bool = False,
    ) -> tuple[Usage, ...]:
        """One for each group `by` tenant, key, adapter, model or day. `own`: of the tenant whose key this is."""
        query = _query(by, start, end, tenant=tenant, key=key, adapter=adapter, model=model)
        return read_list(Usage, self._transport.json("GET", OWN if own else path("usage"), params=query))

    def export(
        self,
        form: str,
        by: Iterable[str] = ("tenant",),
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        tenant: str = "",
        key: str = "",
        adapter: str = "",
        model: str = "",
        own: bool = False,
    ) -> Iterator[str]:
        """The same as "csv" or "jsonl", in pieces as they come."""
        query = _query(by, start, end, tenant=tenant, key=key, adapter=adapter, model=model) | {"format": form}
        with self._transport.stream("GET", OWN if own else path("usage"), params=query) as response:
            try:
                yield from response.iter_text()
            except httpx.HTTPError as error:
                raise Unreachable(f"The report broke off: {why(error)}.") from error


def _query(by: Iterable[str], start: datetime | None, end: datetime | None, **filters: str) -> dict[str, str]:
    asked = {"by": ",".join(by), "from": moment(start), "to": moment(end), **filters}
    return {name: str(value) for name, value in asked.items() if value not in ("", None)}
