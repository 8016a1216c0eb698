"""What this gateway's requests hold in Redis, from their reservation to their settlement."""

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from redis.exceptions import RedisError

from chorus_gateway.quota.base import Outstanding, Reservation, Subject, Used, Wanted
from chorus_gateway.quota.epoch import Epoch
from chorus_gateway.quota.wire import keys_of
from chorus_gateway.scripts import Script, Scripts
from chorus_gateway.values import Limits

LOOK_SECONDS = 1.0  # between two looks at the epoch
RENEWED_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class _Late:
    """A settlement that did not reach Redis."""

    reservation: Reservation
    used: Used
    until: float  # on the monotonic clock: then the lease has lapsed


class Leases:
    def __init__(self, line: Scripts, scripts: Mapping[str, Script], epoch: Epoch, length: float) -> None:
        """`length` of a lease in seconds."""
        self._line = line
        self._scripts = scripts
        self._epoch = epoch
        self._length = length
        self._held: dict[str, Reservation] = {}
        self._late: dict[str, _Late] = {}
        self._giving_back: set[asyncio.Task[None]] = set()
        self._told = ""  # the epoch in which Redis was last told of what is held

    def add(self, reservation: Reservation) -> None:
        self._held[reservation.id] = reservation

    def abandon(self, reservation: Reservation) -> None:
        """Of a reservation nobody knows whether it was made: it is given back as soon as Redis answers."""
        self._put_off(reservation, Used())

    def withdraw(self, reservation: Reservation) -> None:
        """Nobody waits any more for a reservation that Redis may be making: its settlement reaches Redis after it."""
        self.add(reservation)
        task = asyncio.create_task(self._give_back(reservation))
        self._giving_back.add(task)
        task.add_done_callback(self._giving_back.discard)

    async def aclose(self) -> None:
        if self._giving_back:
            await asyncio.wait(self._giving_back)

    def doubt(self, tenant: str, subjects: Sequence[Subject]) -> None:
        """The ledger has got something of the subjects that nobody settled: their counters are told within a second."""
        name = "adopted." + " ".join(subject.name for subject in subjects)
        bounded = tuple(replace(subject, limits=Limits(concurrent_requests=1)) for subject in subjects)
        self._put_off(Reservation(name, Wanted("", tenant, bounded, 0), 0.0), Used())

    async def settle(self, reservation: Reservation, used: Used) -> None:
        """RedisError when it did not reach Redis; it is tried again then."""
        if self._held.pop(reservation.id, None) is None:
            return
        try:
            await self._settle(reservation, used)
        except (RedisError, OSError):
            self._epoch.doubt()
            self._put_off(reservation, used)
            raise

    async def keep(self) -> None:
        """Until cancelled. While Redis is away there is nothing to keep."""
        renewed = time.monotonic()
        while True:
            with contextlib.suppress(RedisError, OSError):
                await self._epoch.look()
                if self._epoch.name != self._told or time.monotonic() - renewed >= self._length / 3:
                    await self.renew()
                    renewed = time.monotonic()
                await self._catch_up()
            self._give_up()
            await asyncio.sleep(min(LOOK_SECONDS, self._length / 3))

    async def renew(self) -> None:
        """Prolongs what is held; what was lost is told again, so that it counts."""
        epoch = self._epoch.name
        by_tenant: dict[str, list[str]] = {}
        for reservation in self._held.values():
            by_tenant.setdefault(reservation.wanted.tenant, []).append(reservation.id)
        for tenant, ids in by_tenant.items():
            for at in range(0, len(ids), RENEWED_AT_ONCE):
                some = [self._microseconds, *ids[at : at + RENEWED_AT_ONCE]]
                for missing in await self._line.call(self._scripts["renew"], keys_of(tenant), some):
                    if missing in self._held:  # not settled in the meantime
                        await self._announce(self._held[missing])
        self._told = epoch

    async def sweep(self, tenant: str) -> Outstanding:
        """Lets leases lapse whose time is over; what is left, whoever's it is."""
        return Outstanding(*await self._line.call(self._scripts["sweep"], keys_of(tenant), []))

    @property
    def _microseconds(self) -> str:
        return str(round(self._length * 1e6))

    async def _settle(self, reservation: Reservation, used: Used) -> None:
        wanted = reservation.wanted
        names = [subject.name for subject in wanted.subjects if subject.bounded]
        arguments = [reservation.id, str(used.tokens), str(used.cost), *names]
        lazily = not wanted.pressing
        await self._line.call(self._scripts["settle"], keys_of(wanted.tenant), arguments, lazily=lazily)

    async def _give_back(self, reservation: Reservation) -> None:
        with contextlib.suppress(RedisError, OSError):
            await self.settle(reservation, Used())

    async def _announce(self, reservation: Reservation) -> None:
        wanted = reservation.wanted
        at = str(round(reservation.at * 1e6))
        arguments = [reservation.id, at, str(wanted.tokens), str(wanted.cost), self._microseconds]
        for subject in wanted.subjects:
            if subject.bounded:
                limits = subject.limits
                day = "0" if limits.tokens_per_day is None else "1"
                arguments += (subject.name, day, "" if limits.budget is None else limits.budget_period.value)
        await self._line.call(self._scripts["announce"], keys_of(wanted.tenant), arguments)

    def _put_off(self, reservation: Reservation, used: Used) -> None:
        self._late[reservation.id] = _Late(reservation, used, time.monotonic() + self._length)

    async def _catch_up(self) -> None:
        for name, late in list(self._late.items()):
            await self._settle(late.reservation, late.used)
            self._late.pop(name, None)

    def _give_up(self) -> None:
        for name, late in list(self._late.items()):
            if time.monotonic() >= late.until:
                del self._late[name]
