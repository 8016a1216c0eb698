"""Quotas that all gateways share."""

import asyncio
import itertools
import time
import uuid
from collections.abc import Callable, Mapping

from redis.asyncio import Redis
from redis.exceptions import RedisError

from chorus_gateway.errors import Unavailable
from chorus_gateway.quota.base import Outstanding, Reservation, Subject, SubjectKind, Used, Wanted
from chorus_gateway.quota.counting import PATIENCE, Counted, Counting
from chorus_gateway.quota.epoch import Epoch
from chorus_gateway.quota.leases import Leases
from chorus_gateway.quota.spent import NothingSpent, Spent
from chorus_gateway.quota.verdict import answer, refuse_impossible
from chorus_gateway.quota.wire import keys_of, limits_line, read_levels, read_unknown
from chorus_gateway.scripts import Script, Scripts

LEASE_SECONDS = 30.0
ATTEMPTS = 5  # counts that did not hold: a midnight, another flush
SCRIPTS = ("reserve", "settle", "renew", "announce", "count", "sweep")


def load_scripts() -> dict[str, Script]:
    return {name: Script.load("chorus_gateway.quota", "account", name) for name in SCRIPTS}


class RedisQuota:
    """Time is Redis's, a tenant's keys share one hash tag, and each step is one atomic script.

    What a request holds is a lease that `keep_leases` renews while it runs, so that what a killed gateway held is free
    again after `lease` seconds. RedisError leaves `reserve` as it is: what its absence means is decided by
    DegradingQuota. A settlement that does not reach Redis is tried again until the lease has lapsed.
    """

    def __init__(
        self,
        redis: Redis,
        spent: Spent | None = None,
        *,
        lease: float = LEASE_SECONDS,
        timeout: float = 0.1,
        scripts: Mapping[str, Script] | None = None,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`lease` and `timeout` (of one exchange) in seconds. `patience`: how long after a loss of Redis its counters
        are left alone, for all gateways to tell of their requests in flight; see Counting. `clock`: the ledger's."""
        self._line = Scripts(redis, timeout=timeout)
        self._scripts = scripts or load_scripts()
        self._lease = lease
        self._epoch = Epoch(self._line)
        self._leases = Leases(self._line, self._scripts, self._epoch, lease)
        self._counting = Counting(
            self._line, self._scripts["count"], self._epoch, spent or NothingSpent(), patience=patience, clock=clock
        )
        self._lease_us = str(round(lease * 1e6))
        self._worker = uuid.uuid4().hex[:12]
        self._serial = itertools.count()

    async def reserve(self, wanted: Wanted) -> Reservation:
        refuse_impossible(wanted)
        reservation_id = f"{self._worker}.{next(self._serial)}"
        bounded = [subject for subject in wanted.subjects if subject.bounded]
        for _ in range(ATTEMPTS):
            reply = await self._ask(wanted, reservation_id)
            if not reply.startswith("?"):
                break
            unknown = read_unknown(reply)
            await self._counting.count([Counted(wanted.tenant, bounded[index], field) for index, field in unknown])
        else:
            raise Unavailable("What was spent cannot be told at the moment: try again in a few seconds.")
        granted, now, levels, doubts = read_levels(reply)
        if granted and bounded:
            self._leases.add(Reservation(reservation_id, wanted, now))
        for index, field in doubts:
            self._counting.doubt(Counted(wanted.tenant, bounded[index], field))
        return answer(wanted, reservation_id, now, granted, levels)

    async def settle(self, reservation: Reservation, used: Used) -> None:
        await self._leases.settle(reservation, used)

    def doubt(self, tenant: str, key: str, adapter: str) -> None:
        """The ledger has got a request of theirs that its own gateway may not have settled, maybe long after its lease
        lapsed and the ledger was asked: their days and budgets are counted again. `adapter` may be ""."""
        subjects = [Subject(SubjectKind.TENANT, tenant), Subject(SubjectKind.KEY, key)]
        subjects += [Subject(SubjectKind.ADAPTER, adapter)] if adapter else []
        self._leases.doubt(tenant, subjects)

    async def outstanding(self, tenant: str) -> Outstanding:
        """All gateways' requests of the tenant, once the leases whose time is over have lapsed."""
        return await self._leases.sweep(tenant)

    async def keep_leases(self) -> None:
        """Renews until cancelled."""
        await self._leases.keep()

    async def renew(self) -> None:
        await self._leases.renew()

    async def aclose(self) -> None:
        await self._counting.aclose()
        await self._leases.aclose()
        await self._line.aclose()

    async def _ask(self, wanted: Wanted, reservation_id: str) -> str:
        if wanted.metered and not self._epoch.name:
            await self._epoch.look()
        arguments = [reservation_id, str(wanted.tokens), str(wanted.cost), self._lease_us, self._epoch.name]
        for subject in wanted.subjects:
            arguments += (subject.name, limits_line(subject))
        try:
            reply = await self._line.call(self._scripts["reserve"], keys_of(wanted.tenant), arguments)
        except (RedisError, OSError):
            self._epoch.doubt()
            # It may have been granted and only the answer lost.
            self._leases.abandon(Reservation(reservation_id, wanted, 0.0))
            raise
        except asyncio.CancelledError:
            self._leases.withdraw(Reservation(reservation_id, wanted, 0.0))
            raise
        return str(reply)
