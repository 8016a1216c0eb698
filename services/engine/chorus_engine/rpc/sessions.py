"""Every stream of every gateway worker, and the requests that they brought."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from chorus_engine.core.errors import Draining, EngineError, InvalidRequest, NoCredit
from chorus_engine.core.load import Held, Load
from chorus_engine.core.request import Band, FinishReason, Output, Request, Usage
from chorus_engine.rpc.credits import CreditLedger, Head
from chorus_engine.rpc.deltas import to_delta, to_final_usage, to_load
from chorus_engine.rpc.outbox import MAX_BYTES, Outbox, OutboxOverflow
from chorus_engine.rpc.residency import to_tier
from chorus_engine.rpc.submission import Limits, to_request
from chorus_engine.rpc.usage import SubmissionId, UsageBook
from chorus_proto.engine.v1 import engine_pb2 as pb

# A stream that has no deltas of its own hears of the engine's load this often, in seconds.
LOAD_INTERVAL = 0.1


class Engine(Protocol):
    """The loop, as seen from here. Neither call waits."""

    def submit(self, request: Request) -> None: ...

    def cancel(self, request_id: str) -> None: ...


@dataclass(slots=True, eq=False)
class Stream:
    serial: int
    worker_id: str
    outbox: Outbox = field(default_factory=Outbox)
    ids: set[str] = field(default_factory=set)  # of its live submissions
    heard: float = 0.0  # when its load was last sent


@dataclass(frozen=True, slots=True)
class Submission:
    stream: Stream
    request_id: str
    attempt: int
    request: Request


class Sessions:
    """Lives on the event loop. `finished(request, output)` hears of the end of every request that was accepted, and
    `book` keeps its usage until the gateway acknowledges it."""

    def __init__(
        self,
        engine: Engine,
        limits: Limits,
        credits: CreditLedger,
        *,
        finished: Callable[[Request, Output], None],
        book: UsageBook | None = None,
        outbox_bytes: int = MAX_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._limits = limits
        self._credits = credits
        self._finished = finished
        self._book = UsageBook(clock=clock) if book is None else book
        self._outbox_bytes = outbox_bytes
        self._clock = clock
        self._streams: dict[int, Stream] = {}
        self._live: dict[str, Submission] = {}  # by the engine's id
        self._serial = 0
        self._load: Load | None = None  # the last one told
        self._stalled = False
        self._draining = False
        self._tiers: dict[str, pb.Tier] = {}  # where adapters are
        self.empty = asyncio.Event()  # set while no request lives
        self.empty.set()

    @property
    def live(self) -> int:
        """Requests accepted and not ended."""
        return len(self._live)

    def traceparent_of(self, digest: str) -> str:
        """Of the first live request for the adapter; empty when there is none."""
        requests = (submission.request for submission in self._live.values())
        return next((request.traceparent for request in requests if request.adapter == digest), "")

    def open(self, worker_id: str) -> Stream:
        self._serial += 1
        stream = Stream(self._serial, worker_id, Outbox(self._outbox_bytes, self._tiers))
        if self._load is not None:
            stream.outbox.set_load(to_load(self._load, stalled=self._stalled), send=True)
        self._streams[stream.serial] = stream
        self._credits.open(stream.serial)
        stream.outbox.set_standing(self._credits.standing)
        self._grant()
        return stream

    def close(self, stream: Stream) -> None:
        """Cancel what the stream brought. May be called again."""
        if self._streams.pop(stream.serial, None) is None:
            return
        self._credits.close(stream.serial)
        for request_id in stream.ids:
            self._engine.cancel(request_id)
        stream.outbox.close()
        self._grant()

    def apply(self, stream: Stream, frame: pb.GatewayFrame) -> None:
        """In the order of the fields' numbers. A bad submit is answered with a delta and disturbs nothing else."""
        if stream.serial not in self._streams:  # its outbox overflowed
            return
        for cancel in frame.cancels:
            self._cancel(stream, cancel)
        self._credits.give_back(stream.serial, frame.returned_credits)
        for submit in frame.submits:
            self._submit(stream, submit)
        if frame.HasField("head") and stream.serial in self._streams:
            self._credits.advertise(stream.serial, _to_head(frame.head))
            if frame.head.waiting:
                stream.outbox.add_credits(0)  # those that were to go with the next frame go now
        self.acknowledge(stream.worker_id, frame.acknowledged)
        self._grant()

    def acknowledge(self, worker_id: str, submissions: Iterable[pb.SubmissionId]) -> None:
        """The gateway has taken down what these came to."""
        self._book.acknowledge(worker_id, (SubmissionId(each.request_id, each.attempt) for each in submissions))

    def usage_of(self, worker_id: str) -> pb.OrphanedUsageResponse:
        """What the worker has not acknowledged, and which of its requests have not ended."""
        live = [
            pb.SubmissionId(request_id=submission.request_id, attempt=submission.attempt)
            for submission in self._live.values()
            if submission.stream.worker_id == worker_id
        ]
        ended = [to_final_usage(submission, usage) for submission, usage in self._book.of(worker_id)]
        return pb.OrphanedUsageResponse(ended=ended, live=live)

    def deliver(self, outputs: tuple[Output, ...], load: Load) -> None:
        """The news of one step, to the streams that it concerns."""
        for output in outputs:
            self._pass_on(output)
        self._load = load
        self._grant()
        self._tell_load(load)

    def hold(self, changes: Mapping[str, Held | None]) -> None:
        """Adapters that came, went or moved; gateways hear of those that are nearer to the steps or farther now."""
        moved: dict[str, pb.Tier | None] = {}
        for digest, held in changes.items():
            tier = to_tier(held)
            if tier == self._tiers.get(digest):
                continue
            moved[digest] = tier
            if tier is None:
                del self._tiers[digest]
            else:
                self._tiers[digest] = tier
        if moved:
            for stream in self._streams.values():
                stream.outbox.move(moved)

    def set_stalled(self, stalled: bool) -> None:
        """Whether steps fail to end: every stream hears of it now, and no credit is granted meanwhile."""
        self._stalled = stalled
        message = pb.Load(stalled=stalled) if self._load is None else to_load(self._load, stalled=stalled)
        for stream in self._streams.values():
            stream.outbox.set_load(message, send=True)
        self._grant()

    def drain(self) -> None:
        """Grant no more credits and refuse what comes; what runs goes on."""
        self._draining = True
        self._grant()

    def end_all(self) -> None:
        """End what is left with DRAINING, worth another attempt elsewhere."""
        for request_id, submission in list(self._live.items()):
            self._engine.cancel(request_id)
            error = Draining("the engine is shutting down; send the request to another engine.")
            self._pass_on(Output(submission.request.id, finish=FinishReason.ERROR, error=error))
        for stream in list(self._streams.values()):
            stream.outbox.close()

    def _submit(self, stream: Stream, submit: pb.Submit) -> None:
        request_id = f"{submit.attempt}:{submit.request_id}"
        try:
            self._admit(stream)
            if request_id in self._live:
                raise InvalidRequest(f"request {submit.request_id} attempt {submit.attempt} is running already.")
            request = to_request(submit, request_id, self._clock(), self._limits)
            if request.band is not Band.PRIORITY and self._credits.spend_raised(stream.serial):
                request = replace(request, band=Band.PRIORITY)
        except EngineError as error:
            refusal = Output(request_id, finish=FinishReason.ERROR, error=error)
            self._put(stream, to_delta(submit.request_id, submit.attempt, refusal))
            return
        self._live[request_id] = Submission(stream, submit.request_id, submit.attempt, request)
        seats = 1 if request.beams is None else request.beams.width
        self._credits.seats.take(request_id, request.tenant, top=submit.band == pb.BAND_PRIORITY, seats=seats)
        self.empty.clear()
        stream.ids.add(request_id)
        self._engine.submit(request)

    def _admit(self, stream: Stream) -> None:
        paid = stream.serial in self._streams and self._credits.spend(stream.serial)
        if self._draining:
            raise Draining("the engine is shutting down; send the request to another engine.")
        if not paid:
            raise NoCredit("the submit came without a credit; wait for one before each submit.")

    def _cancel(self, stream: Stream, cancel: pb.Cancel) -> None:
        request_id = f"{cancel.attempt}:{cancel.request_id}"
        if request_id in stream.ids:
            self._engine.cancel(request_id)

    def _pass_on(self, output: Output) -> None:
        submission = self._live.get(output.request_id)
        if submission is None:  # ended by `end_all`
            return
        stream = submission.stream
        if output.finish is not None:
            self._forget(output.request_id)
            stream.ids.discard(output.request_id)
            self._finished(submission.request, output)
            self._keep(submission, output.usage)
        if stream.serial in self._streams:
            self._put(stream, to_delta(submission.request_id, submission.attempt, output))

    def _keep(self, submission: Submission, usage: Usage | None) -> None:
        if usage is not None:
            name = SubmissionId(submission.request_id, submission.attempt)
            self._book.keep(submission.stream.worker_id, name, usage)

    def _forget(self, request_id: str) -> None:
        del self._live[request_id]
        self._credits.seats.leave(request_id)
        if not self._live:
            self.empty.set()

    def _put(self, stream: Stream, delta: pb.Delta) -> None:
        try:
            stream.outbox.add(delta)
        except OutboxOverflow:
            self.close(stream)

    def _grant(self) -> None:
        closed = self._draining or self._stalled
        full = closed or (self._load is not None and self._load.waits_for_blocks)
        if not full:
            for serial, count in self._credits.grant().items():
                self._streams[serial].outbox.add_credits(count)
        if self._credits.review(full=full):
            for stream in self._streams.values():
                stream.outbox.set_standing(self._credits.standing)
        for serial, count in self._credits.stand().items():
            self._streams[serial].outbox.add_credits(count, send=False)

    def _tell_load(self, load: Load) -> None:
        message, now = to_load(load, stalled=self._stalled), self._clock()
        idle = not load.running and not load.waiting
        for stream in self._streams.values():
            due = not stream.outbox.empty or idle or now - stream.heard >= LOAD_INTERVAL
            stream.outbox.set_load(message, send=due)
            if due:
                stream.heard = now


def _to_head(head: pb.Head) -> Head:
    """A head without a known band goes last; one whose counter is no number waits behind all that have one."""
    band = Band(int(head.band)) if head.band in pb.Band.values()[1:] else Band.FLEX
    counter = head.counter if head.counter == head.counter else float("inf")
    stride = head.stride if 0 < head.stride < float("inf") else 0.0
    return Head(head.waiting, band, counter, head.tenant_tag, stride, head.aged, max(1, head.alike))
