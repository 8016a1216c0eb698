"""Brings the queue's jobs and the engines' credits together, and tries a job again where that can do no harm."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from prometheus_client import Counter

from chorus_gateway.engine_client.codec import Failure
from chorus_gateway.engine_client.usage import UNKEPT, Account
from chorus_gateway.errors import DeadlineExceeded, GatewayError, Overloaded, Unavailable
from chorus_gateway.queue.fair import FairQueue
from chorus_gateway.queue.lane import Place
from chorus_gateway.queue.refusals import outwaited, refuse_late
from chorus_gateway.queue.room import QueueFull
from chorus_gateway.routing.claims import Claims
from chorus_gateway.routing.convoy import Convoy
from chorus_gateway.routing.demand import Demand
from chorus_gateway.routing.member import Member
from chorus_gateway.routing.pool import EnginePool
from chorus_gateway.routing.ticket import Sink, Ticket
from chorus_gateway.routing.turns import Turn, Turns
from chorus_gateway.values import Delta, Job

_DRAIN_POLL = 0.05  # seconds


@dataclass(frozen=True, slots=True)
class DispatchLimits:
    max_attempts: int = 3
    retry_delay: float = 0.1  # seconds before a second attempt, doubled for each further one
    engine_patience: float = 10.0  # seconds that jobs wait while no engine of their base model is connected
    grace: float = 1.0  # seconds past its deadline that a running job's engine has to end it
    max_wait: float = 60.0  # seconds that a job may wait for an engine's credit


class Dispatcher:
    """Holds each job from `submit` to its end: in the queue, at an engine, or between two attempts."""

    def __init__(
        self,
        queue: FairQueue,
        pool: EnginePool,
        turns: Turns,
        claims: Claims,
        demand: Demand,
        sent: Counter,
        limits: DispatchLimits,
    ) -> None:
        """`turns` are the queue's. `sent` counts requests of adapters by `tier`: where their engine had the adapter."""
        self._queue = queue
        self._pool = pool
        self._turns = turns
        self._claims = claims
        self._demand = demand
        self._sent = sent
        self._limits = limits
        self._tickets: dict[Place, Ticket] = {}
        self._live: set[Ticket] = set()
        self._sweeps: dict[str, asyncio.TimerHandle] = {}  # by base model, while jobs wait for certain engines
        self._running = 0
        self._closed: GatewayError | None = None
        pool.listen(self)

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def running(self) -> int:
        return self._running

    def census(self) -> dict[str, tuple[int, int]]:
        """By tenant: jobs that an engine has, and jobs that wait."""
        counts: dict[str, tuple[int, int]] = {}
        for ticket in self._live:
            running, waiting = counts.get(ticket.job.tenant.id, (0, 0))
            here = ticket.session is not None
            counts[ticket.job.tenant.id] = running + here, waiting + (not here)
        return counts

    def submit(self, job: Job, sink: Sink, account: Account = UNKEPT) -> Ticket:
        """Overloaded when the queue is full; Unavailable when the job's base model has had no engine for too long, or
        the gateway ends. `account` hears what each submission came to, also after the job has ended here."""
        if self._closed is not None:
            raise Unavailable(self._closed.message)
        model = job.model.base.digest
        if self._pool.absent_for(model) > self._limits.engine_patience:
            raise _no_engine(job)
        refuse_late(self._queue, job, self._limits.max_wait)
        try:
            place = self._turns.enter(job)
        except QueueFull as full:
            raise Overloaded(f"The gateway is overloaded ({full}): try again in a second.", retry_after=1.0) from full
        return self._begin(job, sink, account, place)

    def follow(self, job: Job, sink: Sink, account: Account) -> Ticket:
        """As `submit`, for a request of which one job has just ended: no bound refuses it half done. It goes behind
        what has come meanwhile."""
        return self._begin(job, sink, account, self._turns.follow(job))

    @contextmanager
    def carrying(self, jobs: Sequence[tuple[Job, Sink]], account: Account = UNKEPT) -> Iterator[Convoy]:
        """Submits as many as a convoy has at once; whatever has not ended by the end of the block is cancelled."""
        convoy = Convoy(self, jobs, account)
        try:
            convoy.start()
            yield convoy
        finally:
            convoy.cancel()

    def _begin(self, job: Job, sink: Sink, account: Account, place: Place) -> Ticket:
        model = job.model.base.digest
        ticket = Ticket(job, sink, place.order, self, account)
        self._open(ticket)
        self._await_turn(ticket, place)
        if job.deadline is not None:
            self._later(ticket, job.deadline - time.monotonic(), self._expire)
        self._pump(model)
        if ticket.place is not None:
            self._later(ticket, self._limits.max_wait, self._outwait)
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Wherever the job is. Its sink hears no more; one that has ended is left alone."""
        self._close(ticket)
        if ticket.place is not None:
            self._turns.leave(ticket.place)
            del self._tickets[ticket.place]
            ticket.place = None
        elif ticket.session is not None:
            ticket.session.cancel(ticket.job.request_id)
            self._leave_engine(ticket)
        else:
            return
        self._pump(ticket.model)

    def reorder(self) -> None:
        """Counters have changed: every engine is told what is best now."""
        for model in self._queue.models():
            self._pump(model)

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

    def news(self, member: Member) -> None:
        model = member.description.base.digest
        self._turns.heard(member)
        # While anything waits, each frame also moves the head's counter, which the engine orders gateways by.
        if self._queue.waiting(model) or member.session.credits:
            self._pump(model)

    def turned(self, member: Member) -> None:
        model = member.description.base.digest
        self._turns.aim_again(model)
        self._rescue(model)
        self._pump(model)

    def progress(self, ticket: Ticket, delta: Delta) -> None:
        if delta.answers:
            if not ticket.started and ticket.member is not None:
                self._pool.ejector.answered(ticket.member, ticket.trial)
            ticket.started = True
        if produced := ticket.produced(delta):
            ticket.advance = self._queue.produced(ticket.job, produced, ticket.advance)
        if delta.finish is not None:
            if delta.usage is not None:
                self._queue.learn(ticket.job.tenant, delta.usage.completion_tokens)
            self._leave_engine(ticket)
            self._close(ticket)
        if not ticket.sink.delta(delta) and delta.finish is None:
            self._end(ticket, Unavailable("The answer was read too slowly and was ended: read it as it comes."))

    def failure(self, ticket: Ticket, failure: Failure) -> None:
        if failure.fault:
            self._blame(ticket)
        self._leave_engine(ticket)
        if not (failure.retry and self._may_try_again(ticket)):
            self._end(ticket, failure.error)
            return
        # Until its turn comes again it is known who loads its adapter now.
        self._claims.start(ticket.job.model)
        delay = self._limits.retry_delay * 2**ticket.attempt
        ticket.attempt += 1
        self._later(ticket, delay, self._retry)

    def _may_try_again(self, ticket: Ticket) -> bool:
        return not ticket.started and ticket.attempt + 1 < self._limits.max_attempts

    def _rescue(self, model: str) -> None:
        """What has brought no token and is at an engine that may hang goes elsewhere, if there is such a place. What
        has begun waits until the engine comes back, its stream breaks, or its time is over."""
        members = self._pool.members(model)
        stalled = {member.session for member in members if member.stalled}
        if not stalled or not any(member.takes for member in members):
            return
        for ticket in [ticket for ticket in self._live if ticket.session in stalled]:
            if self._may_try_again(ticket):
                assert ticket.session is not None
                ticket.session.cancel(ticket.job.request_id)
                self._leave_engine(ticket)
                ticket.attempt += 1
                self._await_turn(ticket, self._turns.reenter(ticket.job, ticket.order))

    def _pump(self, model: str) -> None:
        """Spends credits on the jobs that are best at this moment, then tells every engine what still waits for it."""
        self._turns.serve(model, self._dispatch)
        if model not in self._sweeps and self._turns.aimed(model):
            loop = asyncio.get_running_loop()
            self._sweeps[model] = loop.call_later(self._turns.patience.first / 4, self._sweep, model)

    def _sweep(self, model: str) -> None:
        del self._sweeps[model]
        self._turns.lapse(model)
        self._pump(model)

    def _dispatch(self, turn: Turn) -> None:
        ticket = self._tickets.pop(turn.place)
        job, session = ticket.job, turn.member.session
        counter = self._queue.counter(job)
        ticket.advance = self._turns.take(turn)
        if job.model.adapter is not None:
            self._sent.labels(turn.tier.name.lower()).inc()
        ticket.place, ticket.session, ticket.drawn = None, session, 0
        ticket.member, ticket.trial = turn.member, turn.member.health.sent()
        self._running += 1
        traced = replace(job, traceparent=ticket.sink.dispatched() or job.traceparent, aged=turn.aged)
        ticket.account.sent(ticket.submission, turn.member.id)
        now = time.monotonic()
        session.submit(traced, ticket, attempt=ticket.attempt, counter=counter, now=now, account=ticket.account)

    def _await_turn(self, ticket: Ticket, place: Place) -> None:
        ticket.place = place
        self._tickets[place] = ticket

    def _leave_engine(self, ticket: Ticket) -> None:
        if ticket.session is None:
            return  # it had ended there when something went wrong with its end
        ticket.session = None
        self._running -= 1
        advance, ticket.advance = ticket.advance, 0.0
        self._queue.give_back(ticket.job, advance)
        if ticket.trial and ticket.member is not None:
            ticket.member.health.withdrawn(ticket.trial)  # nothing, once it was judged
            ticket.trial = False

    def _blame(self, ticket: Ticket) -> None:
        if ticket.member is not None:
            self._pool.ejector.failed(ticket.member, ticket.trial)

    def _retry(self, ticket: Ticket) -> None:
        self._await_turn(ticket, self._turns.reenter(ticket.job, ticket.order))
        self._pump(ticket.model)

    def _expire(self, ticket: Ticket) -> None:
        if ticket.session is not None:
            # The engine ends it by itself; if it does not, it hangs.
            self._later(ticket, self._limits.grace, self._hung)
            return
        self._end(ticket, DeadlineExceeded("The request's time ran out before an engine was free: try again later."))

    def _outwait(self, ticket: Ticket) -> None:
        if ticket.place is not None:
            self._end(ticket, outwaited(self._queue, ticket.job, self._limits.max_wait))

    def _hung(self, ticket: Ticket) -> None:
        if ticket.session is not None:
            self._blame(ticket)
        self._end(ticket, DeadlineExceeded("The request's time ran out and its engine did not answer: try again."))

    def _end(self, ticket: Ticket, error: GatewayError) -> None:
        self.cancel(ticket)
        ticket.sink.failed(error)

    def _later(self, ticket: Ticket, delay: float, act: Callable[[Ticket], None]) -> None:
        ticket.timers.append(asyncio.get_running_loop().call_later(max(0.0, delay), act, ticket))

    def _open(self, ticket: Ticket) -> None:
        self._live.add(ticket)
        if ticket.job.model.adapter is not None:
            self._demand.begin((ticket.model, ticket.job.model.adapter))

    def _close(self, ticket: Ticket) -> None:
        for timer in ticket.timers:
            timer.cancel()
        ticket.timers.clear()
        if ticket in self._live and ticket.job.model.adapter is not None:
            self._demand.end((ticket.model, ticket.job.model.adapter))
        self._live.discard(ticket)


def _no_engine(job: Job) -> Unavailable:
    return Unavailable(f"No engine that serves '{job.model.base.name}' is connected: try again in some seconds.")
