import asyncio

import pytest

from chorus_gateway.quota import SettlesBehind
from chorus_gateway.quota.base import Reservation, Subject, SubjectKind, Used, Wanted
from chorus_gateway.values import Limits


class Slow:
    """A quota whose store takes its time."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.settled: list[str] = []

    async def reserve(self, wanted: Wanted) -> Reservation:
        return Reservation(wanted.request_id, wanted, at=0.0)

    async def settle(self, reservation: Reservation, used: Used) -> None:
        await self.answers.wait()
        self.settled.append(reservation.id)


def wanted(places: int | None) -> Wanted:
    return Wanted("r", "acme", (Subject(SubjectKind.TENANT, "acme", Limits(concurrent_requests=places)),), tokens=1)


@pytest.mark.parametrize("places", [None, 1000])
async def test_nobody_waits_for_a_settlement(places: int | None) -> None:
    slow = Slow()
    quota = SettlesBehind(slow)
    await quota.settle(await quota.reserve(wanted(places)), Used(1))
    assert not slow.settled
    slow.answers.set()
    await quota.aclose()
    assert slow.settled == ["r"]


async def test_who_has_few_places_has_them_back_with_the_answer() -> None:
    slow = Slow()
    quota = SettlesBehind(slow)
    asyncio.get_running_loop().call_later(0.01, slow.answers.set)
    await quota.settle(await quota.reserve(wanted(2)), Used(1))
    assert slow.settled == ["r"]
