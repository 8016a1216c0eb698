"""Reserve, then settle: what a request may use at most is taken at its start, what it did not use is given back."""

from typing import Protocol

from chorus_gateway.values import Reservation, Tenant


class Quota(Protocol):
    async def reserve(self, tenant: Tenant, request_id: str, tokens: int) -> Reservation:
        """Takes one request, `tokens` tokens (an upper bound: prompt and output) and one place in flight, all or none.

        RateLimited when they are not to be had now; InvalidRequest when `tokens` is more than the tenant's limit a
        minute, so that no wait would help.
        """
        ...

    async def settle(self, reservation: Reservation, tokens: int) -> None:
        """Frees the place in flight and corrects the reservation to the `tokens` really used, more or fewer.

        Only the first call for a reservation has an effect. Never raises for a store that is away: the place then
        lapses with its lease. Callers shield it from cancellation.
        """
        ...
