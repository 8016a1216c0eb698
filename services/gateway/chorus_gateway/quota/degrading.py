"""What happens to quotas while Redis is away: limits are kept by each gateway alone, and operators can see it."""

import logging
import time
from collections.abc import Callable

from prometheus_client import Gauge
from redis.exceptions import RedisError

from chorus_gateway.errors import GatewayError, InvalidRequest, Unavailable
from chorus_gateway.quota.base import Quota, Reservation, Used, Wanted

BREAK_SECONDS = 1.0

log = logging.getLogger(__name__)


class DegradingQuota:
    """Asks `shared`; when it fails, `local` for the next second, so that requests do not each wait for a timeout.

    Fails open where a minute's limits and places in flight are all there is: with n gateways a tenant may for that time
    have n times those. Fails closed where a day's tokens or money are limited, which each gateway alone cannot tell. A
    reservation is settled where it was made.
    """

    def __init__(
        self, shared: Quota, local: Quota, gauge: Gauge, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._shared = shared
        self._local = local
        self._gauge = gauge
        self._clock = clock
        self._degraded = False
        self._closed_until = 0.0
        self._made_here: set[str] = set()

    async def reserve(self, wanted: Wanted) -> Reservation:
        if self._clock() >= self._closed_until:
            try:
                # Others stay local while this one finds out whether Redis is back.
                if self._degraded:
                    self._closed_until = self._clock() + BREAK_SECONDS
                reservation = await self._shared.reserve(wanted)
            except (RedisError, OSError) as error:
                self._fail(error)
            except InvalidRequest:
                self._closed_until = 0.0  # nobody has asked Redis: the next one may
                raise
            except GatewayError:
                self._recover()  # a refusal is an answer too
                raise
            else:
                self._recover()
                return reservation
        if wanted.spends:
            raise Unavailable(
                "What is left of the day's tokens or the budget cannot be told while Redis is away: try again in a "
                "few seconds."
            )
        reservation = await self._local.reserve(wanted)
        self._made_here.add(reservation.id)
        return reservation

    async def settle(self, reservation: Reservation, used: Used) -> None:
        if reservation.id in self._made_here:
            self._made_here.discard(reservation.id)
            await self._local.settle(reservation, used)
            return
        try:
            await self._shared.settle(reservation, used)
        except (RedisError, OSError) as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._closed_until = self._clock() + BREAK_SECONDS
        if not self._degraded:
            log.warning("Redis is away: every gateway keeps limits by itself", extra={"error": str(error)})
        self._degraded = True
        self._gauge.set(1)

    def _recover(self) -> None:
        self._closed_until = 0.0
        if self._degraded:
            log.warning("Redis is back: limits are shared again")
        self._degraded = False
        self._gauge.set(0)
