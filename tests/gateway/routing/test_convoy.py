"""A request with many jobs has some of them under way at a time."""

from typing import Any

import pytest

from chorus_gateway.engine_client.usage import UNKEPT
from chorus_gateway.errors import Overloaded
from chorus_gateway.routing.convoy import Convoy


class Carrier:
    """Tickets are the jobs themselves."""

    def __init__(self, room: int = 100) -> None:
        self.room = room
        self.submitted: list[Any] = []
        self.followed: list[Any] = []
        self.cancelled: list[Any] = []

    def submit(self, job: Any, sink: Any, account: Any) -> Any:
        if len(self.submitted) == self.room:
            raise Overloaded("there is no room")
        self.submitted.append(job)
        return job

    def follow(self, job: Any, sink: Any, account: Any) -> Any:
        self.followed.append(job)
        return job

    def cancel(self, ticket: Any) -> None:
        self.cancelled.append(ticket)


def convoy(carrier: Carrier, count: int) -> Convoy:
    jobs: Any = [(number, None) for number in range(count)]
    return Convoy(carrier, jobs, UNKEPT, most=3)


def test_one_that_ends_makes_way_for_the_next() -> None:
    carrier = Carrier()
    jobs = convoy(carrier, 5)
    jobs.start()
    assert (carrier.submitted, carrier.followed) == ([0, 1, 2], [])
    jobs.ended(1)
    assert (carrier.cancelled, carrier.followed) == ([1], [3]), "one that was stopped would run on"
    jobs.ended(3)
    jobs.ended(0)
    assert carrier.followed == [3, 4], "there are no more"
    jobs.cancel()
    assert set(carrier.cancelled) == {0, 1, 2, 3, 4}


def test_what_was_submitted_before_a_refusal_is_cancelled() -> None:
    carrier = Carrier(room=2)
    jobs = convoy(carrier, 5)
    with pytest.raises(Overloaded):
        jobs.start()
    jobs.cancel()
    assert carrier.cancelled == [0, 1]
