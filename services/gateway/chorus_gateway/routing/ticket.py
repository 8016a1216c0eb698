"""One job's way through queue and engine."""

import asyncio
from typing import Protocol

from chorus_gateway.engine_client.codec import Failure
from chorus_gateway.engine_client.session import Session
from chorus_gateway.engine_client.usage import Account, SubmissionId
from chorus_gateway.errors import GatewayError
from chorus_gateway.queue.lane import Place
from chorus_gateway.routing.member import Member
from chorus_gateway.values import Delta, Job


class Sink(Protocol):
    """Hears of one job, in the event loop, and must not wait. After `failed` or a delta with `finish` no more comes."""

    def dispatched(self) -> str:
        """The job leaves the queue for an engine. Answers the W3C traceparent to send along, or ""."""
        ...

    def delta(self, delta: Delta) -> bool:
        """False ends the job: its client does not keep up."""
        ...

    def failed(self, error: GatewayError) -> None: ...


class Keeper(Protocol):
    """Whoever holds the tickets."""

    def progress(self, ticket: "Ticket", delta: Delta) -> None: ...

    def failure(self, ticket: "Ticket", failure: Failure) -> None: ...


class Ticket:
    """The session's listener."""

    def __init__(self, job: Job, sink: Sink, order: int, keeper: Keeper, account: Account) -> None:
        self.job = job
        self.sink = sink
        self.account = account
        self.order = order  # of arrival, kept over attempts
        self.place: Place | None = None  # while it waits in the queue
        self.session: Session | None = None  # while an engine has it
        self.member: Member | None = None  # that engine, or the last one that had it
        self.trial = False  # it tries an engine that was ejected
        self.advance = 0.0  # output tokens charged when it was dispatched and not produced yet
        self.drawn = 0  # by the engine that has it, for a beam search's paths
        self.attempt = 0
        self.started = False  # a token has been delivered: no other attempt may be made
        self.timers: list[asyncio.TimerHandle] = []
        self._keeper = keeper

    @property
    def model(self) -> str:
        """Its base model's digest."""
        return self.job.model.base.digest

    @property
    def submission(self) -> SubmissionId:
        return SubmissionId(self.job.request_id, self.attempt)

    def produced(self, delta: Delta) -> int:
        """Output tokens that the engine has computed since the last delta: a search's are those of all paths."""
        beams = self.job.beams
        if beams is None:
            return len(delta.token_ids)
        if delta.finish is not None:
            return beams.width  # the last round's
        before, self.drawn = self.drawn, delta.usage.completion_tokens if delta.usage else self.drawn
        return self.drawn - before

    def delta(self, delta: Delta) -> None:
        self._keeper.progress(self, delta)

    def failed(self, failure: Failure) -> None:
        self._keeper.failure(self, failure)
