"""Brings the queue's jobs and the engines' credits together, and tries a job again where that can do no harm."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from chorus_gateway.engine_client.client import EngineClient
from chorus_gateway.engine_client.codec import Failure, Head
from chorus_gateway.engine_client.session import Session
from chorus_gateway.errors import DeadlineExceeded, GatewayError, Overloaded, Unavailable
from chorus_gateway.queue.fair import OUTPUT_WEIGHT, FairQueue, Place, QueueFull
from chorus_gateway.routing.pool import EnginePool
from chorus_gateway.values import Delta, Job

_DRAIN_POLL = 0.05  # seconds


class Sink(Protocol):
    """Hears of one job, in the event loop, and must not wait. After `failed` or a delta with `finish` no more comes."""

    def dispatched(self) -> str:
        """The job leaves the queue for an engine. Answers the W3C traceparent to send along, or ""."""
        ...

    def delta(self, delta: Delta) -> bool:
        """False ends the job: its client does not keep up."""
        ...

    def failed(self, error: GatewayError) -> None: ...


@dataclass(frozen=True, slots=True)
class DispatchLimits:
    max_attempts: int = 3
    retry_delay: float = 0.1  # seconds before a second attempt, doubled for each further one
    engine_patience: float = 10.0  # seconds that jobs wait while no engine of their base model is connected
    grace: float = 1.0  # seconds past its deadline that a running job's engine has to end it


class Ticket:
    """One job's way through queue and engine; the session's listener."""

    def __init__(self, job: Job, sink: Sink, order: int, dispatcher: "Dispatcher") -> None:
        self.job = job
        self.sink = sink
        self.order = order  # of arrival, kept over attempts
        self.place: Place | None = None  # while it waits in the queue
        self.session: Session | None = None  # while an engine has it
        self.attempt = 0
        self.started = False  # a token has been delivered: no other attempt may be made
        self.timers: list[asyncio.TimerHandle] = []
        self._dispatcher = dispatcher

    def delta(self, delta: Delta) -> None:
        self._dispatcher.progress(self, delta)

    def failed(self, failure: Failure) -> None:
        self._dispatcher.failure(self, failure)


class Dispatcher:
    """Holds each job from `submit` to its end: in the queue, at an engine, or between two attempts."""

    def __init__(self, queue: FairQueue, pool: EnginePool, limits: DispatchLimits) -> None:
        self._queue = queue
        self._pool = pool
        self._limits = limits
        self._tickets: dict[Place, Ticket] = {}
        self._live: set[Ticket] = set()
        self._running = 0
        self._closed: GatewayError | None = None
        pool.listen(self)

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def running(self) -> int:
        return self._running

    def submit(self, job: Job, sink: Sink) -> Ticket:
        """Overloaded when the queue is full; Unavailable when the job's base model has had no engine for too long, or
        the gateway ends."""
        if self._closed is not None:
            raise Unavailable(self._closed.message)
        model = job.model.base.digest
        if self._pool.absent_for(model) > self._limits.engine_patience:
            raise _no_engine(job)
        try:
            place = self._queue.push(job)
        except QueueFull as full:
            raise Overloaded(f"The gateway is overloaded ({full}): try again in a second.", retry_after=1.0) from full
        ticket = Ticket(job, sink, place.order, self)
        self._live.add(ticket)
        self._await_turn(ticket, place)
        if job.deadline is not None:
            self._later(ticket, job.deadline - time.monotonic(), self._expire)
        self._pump(model)
        return ticket

    @contextmanager
    def carrying(self, jobs: Sequence[tuple[Job, Sink]]) -> Iterator[list[Ticket]]:
        """Submits all; whatever has not ended by the end of the block is cancelled."""
        tickets: list[Ticket] = []
        try:
            for job, sink in jobs:
                tickets.append(self.submit(job, sink))
            yield tickets
        finally:
            for ticket in tickets:
                self.cancel(ticket)

    def cancel(self, ticket: Ticket) -> None:
        """Wherever the job is. Its sink hears no more; one that has ended is left alone."""
        self._close(ticket)
        if ticket.place is not None:
            self._leave_queue(ticket)
        elif ticket.session is not None:
            ticket.session.cancel(ticket.job.request_id)
            self._leave_engine(ticket)
        else:
            return
        self._pump(ticket.job.model.base.digest)

    async def drain(self, grace: float, error: GatewayError) -> None:
        """New jobs are refused with `error`; what has not ended after `grace` seconds ends with it."""
        self._closed = error
        end = time.monotonic() + grace
        while self._live and time.monotonic() < end:  # noqa: ASYNC110 - once in a process's life
            await asyncio.sleep(_DRAIN_POLL)
        for ticket in list(self._live):
            self._end(ticket, error)

    async def run(self) -> None:
        """Ends the waiting of jobs whose base model no engine serves any more."""
        while True:
            await asyncio.sleep(self._limits.engine_patience / 10)
            for model in self._queue.models():
                if self._pool.absent_for(model) > self._limits.engine_patience:
                    for ticket in [self._tickets[place] for place in self._queue.places(model)]:
                        self._end(ticket, _no_engine(ticket.job))

    def connected(self, engine: EngineClient) -> None:
        self._pump(_model(engine))

    def news(self, engine: EngineClient) -> None:
        model = _model(engine)
        # While anything waits, each frame also moves the head's counter, which the engine orders gateways by.
        if self._queue.waiting(model) or (engine.session is not None and engine.session.credits):
            self._pump(model)

    def lost(self, engine: EngineClient) -> None:
        """Nothing to do: the session has told every job of its own, and those that wait go on waiting."""

    def progress(self, ticket: Ticket, delta: Delta) -> None:
        job = ticket.job
        if delta.token_ids:
            ticket.started = True
            self._queue.charge(job.tenant, job.band, OUTPUT_WEIGHT * len(delta.token_ids))
        if delta.finish is not None:
            self._leave_engine(ticket)
            self._close(ticket)
        if not ticket.sink.delta(delta) and delta.finish is None:
            self._end(ticket, Unavailable("The answer was read too slowly and was ended: read it as it comes."))

    def failure(self, ticket: Ticket, failure: Failure) -> None:
        self._leave_engine(ticket)
        again = failure.retry and not ticket.started and ticket.attempt + 1 < self._limits.max_attempts
        if not again:
            self._end(ticket, failure.error)
            return
        delay = self._limits.retry_delay * 2**ticket.attempt
        ticket.attempt += 1
        self._later(ticket, delay, self._retry)

    def _pump(self, model: str) -> None:
        """Spends credits on the jobs that are best at this moment, then tells every engine what still waits."""
        while (place := self._queue.head(model)) is not None:
            found = self._pool.choose(model, place.job.model.adapter)
            if found is None:
                break
            self._dispatch(self._tickets[place], found)
        head = None if place is None else self._head(model, place)
        for session in self._pool.sessions(model):
            if head is None:
                session.return_credits()
            session.advertise(head)

    def _dispatch(self, ticket: Ticket, session: Session) -> None:
        job = ticket.job
        counter = self._queue.counter(job)
        assert ticket.place is not None
        self._queue.pop(ticket.place)
        del self._tickets[ticket.place]
        ticket.place, ticket.session = None, session
        self._running += 1
        traced = replace(job, traceparent=ticket.sink.dispatched() or job.traceparent)
        session.submit(traced, ticket, attempt=ticket.attempt, counter=counter, now=time.monotonic())

    def _head(self, model: str, place: Place) -> Head:
        return Head(self._queue.waiting(model), place.job.band, self._queue.counter(place.job))

    def _await_turn(self, ticket: Ticket, place: Place) -> None:
        ticket.place = place
        self._tickets[place] = ticket

    def _leave_queue(self, ticket: Ticket) -> None:
        assert ticket.place is not None
        self._queue.remove(ticket.place)
        del self._tickets[ticket.place]
        ticket.place = None

    def _leave_engine(self, ticket: Ticket) -> None:
        ticket.session = None
        self._running -= 1

    def _retry(self, ticket: Ticket) -> None:
        self._await_turn(ticket, self._queue.requeue(ticket.job, ticket.order))
        self._pump(ticket.job.model.base.digest)

    def _expire(self, ticket: Ticket) -> None:
        if ticket.session is None:
            self._end(
                ticket, DeadlineExceeded("The request's time ran out before an engine was free: try again later.")
            )
        else:
            # The engine ends it by itself; if it does not, it hangs.
            self._later(ticket, self._limits.grace, self._hung)

    def _hung(self, ticket: Ticket) -> None:
        self._end(ticket, DeadlineExceeded("The request's time ran out and its engine did not answer: try again."))

    def _end(self, ticket: Ticket, error: GatewayError) -> None:
        self.cancel(ticket)
        ticket.sink.failed(error)

    def _later(self, ticket: Ticket, delay: float, act: Callable[[Ticket], None]) -> None:
        ticket.timers.append(asyncio.get_running_loop().call_later(max(0.0, delay), act, ticket))

    def _close(self, ticket: Ticket) -> None:
        self._live.discard(ticket)
        for timer in ticket.timers:
            timer.cancel()
        ticket.timers.clear()


def _model(engine: EngineClient) -> str:
    assert engine.description is not None
    return engine.description.base.digest


def _no_engine(job: Job) -> Unavailable:
    return Unavailable(f"No engine that serves '{job.model.base.name}' is connected: try again in some seconds.")
