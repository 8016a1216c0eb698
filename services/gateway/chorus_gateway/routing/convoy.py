"""A request's jobs, of which so many wait or run at a time: the others come as those end.

Two thousand inputs in the queue at once would be refused by an idle gateway, whose queue has no room for them, or would
leave none for other tenants.
"""

from collections.abc import Sequence
from typing import Protocol

from chorus_gateway.engine_client.usage import Account
from chorus_gateway.routing.ticket import Sink, Ticket
from chorus_gateway.values import Job

MOST = 128  # as many as one prompt may have answers


class Carrier(Protocol):
    def submit(self, job: Job, sink: Sink, account: Account) -> Ticket: ...

    def follow(self, job: Job, sink: Sink, account: Account) -> Ticket:
        """Never refused."""
        ...

    def cancel(self, ticket: Ticket) -> None:
        """One that has ended is left alone."""


class Convoy:
    def __init__(
        self, carrier: Carrier, jobs: Sequence[tuple[Job, Sink]], account: Account, *, most: int = MOST
    ) -> None:
        self._carrier = carrier
        self._jobs = jobs
        self._account = account
        self._most = most
        self._tickets: list[Ticket] = []  # of the first jobs, in order

    def start(self) -> None:
        """Overloaded or Unavailable; what was submitted by then is still to be cancelled."""
        for job, sink in self._jobs[: self._most]:
            self._tickets.append(self._carrier.submit(job, sink, self._account))

    def ended(self, index: int) -> None:
        """The job has no more to say: after a stop string it would run on. The next one takes its place."""
        self._carrier.cancel(self._tickets[index])
        if len(self._tickets) < len(self._jobs):
            job, sink = self._jobs[len(self._tickets)]
            self._tickets.append(self._carrier.follow(job, sink, self._account))

    def cancel(self) -> None:
        """Whatever has not ended."""
        for ticket in self._tickets:
            self._carrier.cancel(ticket)
