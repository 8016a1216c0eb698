"""The state of one stream to an engine, with no socket in it.

Frames come in by `receive` and go out by `take`; between the two a session knows which submissions are open and how
many credits it holds. Credits are conserved: each one granted is spent on a submit, given back, or still held.
"""

import logging
from collections import deque
from collections.abc import Callable
from typing import Protocol

from chorus_gateway.engine_client.codec import (
    Failure,
    Head,
    Load,
    delta_value,
    failure_value,
    head_message,
    load_value,
    submit_message,
    usage_value,
)
from chorus_gateway.engine_client.residency import Residency
from chorus_gateway.engine_client.usage import NOTHING_USED, UNKEPT, Account, SubmissionId
from chorus_gateway.errors import Internal
from chorus_gateway.values import Delta, Job
from chorus_proto.engine.v1 import engine_pb2 as pb

_log = logging.getLogger(__name__)

# Prompt tokens of one frame: at most five bytes each, so that a frame stays within gRPC's usual 4 MiB message. A single
# longer prompt goes alone.
_MAX_FRAME_TOKENS = 400_000
_MAX_FRAME_ACKNOWLEDGED = 5_000


class Listener(Protocol):
    """Hears of one submission. After `failed`, or a delta with `finish`, it hears no more."""

    def delta(self, delta: Delta) -> None: ...

    def failed(self, failure: Failure) -> None: ...


class Session:
    """`wake` is called whenever `take` has something to give."""

    def __init__(self, worker_id: str, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._hello: pb.Hello | None = pb.Hello(worker_id=worker_id)
        self._cancels: list[pb.Cancel] = []
        self._submits: deque[pb.Submit] = deque()
        self._returned = 0
        self._head: Head | None = None
        self._head_sent: Head | None = None
        self._open: dict[str, tuple[int, Listener, Account]] = {}
        self._cancelled: dict[SubmissionId, Account] = {}  # whose final usage is still to come
        self._acknowledged: list[SubmissionId] = []
        self._is_lost = False
        self.credits = 0
        self.granted = 0  # credits, since the stream began
        self.standing = 0  # credits that it may hold although nothing waits, as the engine last told
        self.load = Load()  # as the engine last told
        self.residency = Residency()

    def __len__(self) -> int:
        """Open submissions."""
        return len(self._open)

    def submit(
        self, job: Job, listener: Listener, *, attempt: int, counter: float, now: float, account: Account = UNKEPT
    ) -> None:
        """Spends a credit; there must be one. `account` hears how the submission ended even after it was cancelled."""
        assert self.credits > 0, "a submit needs a credit"
        self.credits -= 1
        self._open[job.request_id] = (attempt, listener, account)
        self._submits.append(submit_message(job, attempt=attempt, counter=counter, now=now))
        self._wake()

    def cancel(self, request_id: str) -> None:
        """The listener hears no more; what the engine still says of this attempt is dropped."""
        entry = self._open.pop(request_id, None)
        if entry is None:
            return
        attempt, _, account = entry
        submission = SubmissionId(request_id, attempt)
        unsent = next((submit for submit in self._submits if submit.request_id == request_id), None)
        if unsent is not None:
            # A frame's cancels are applied before its submits, so this one would come too early.
            self._submits.remove(unsent)
            self.credits += 1
            account.ended(submission, NOTHING_USED, _needless)
            return
        self._cancelled[submission] = account
        self._cancels.append(pb.Cancel(request_id=request_id, attempt=attempt))
        self._wake()

    def advertise(self, head: Head | None) -> None:
        """What waits for this engine now; None is nothing."""
        if head != self._head:
            self._head = head
            self._wake()

    def return_credits(self) -> None:
        """Nothing waits: those beyond the ones that may stand."""
        spare = self.credits - self.standing
        if spare > 0:
            self._returned += spare
            self.credits -= spare
            self._wake()

    def acknowledge(self, submission: SubmissionId) -> bool:
        """Its final usage has been taken down. False when the stream is gone."""
        if not self._is_lost:
            self._acknowledged.append(submission)
            self._wake()
        return not self._is_lost

    def take(self) -> pb.GatewayFrame | None:
        """All that is to be said now, as far as one frame may carry it; None when there is nothing."""
        if not self._has_news:
            return None
        frame = pb.GatewayFrame(hello=self._hello, cancels=self._cancels, returned_credits=self._returned)
        frame.submits.extend(self._next_submits())
        if self._head != self._head_sent:
            frame.head.CopyFrom(head_message(self._head))
            self._head_sent = self._head
        self._take_acknowledged(frame)
        self._hello, self._cancels, self._returned = None, [], 0
        return frame

    @property
    def _has_news(self) -> bool:
        told = self._hello is None and self._head == self._head_sent
        return bool(not told or self._cancels or self._returned or self._submits or self._acknowledged)

    def _take_acknowledged(self, frame: pb.GatewayFrame) -> None:
        if self._acknowledged:
            now, self._acknowledged = _split(self._acknowledged, _MAX_FRAME_ACKNOWLEDGED)
            frame.acknowledged.extend(pb.SubmissionId(request_id=each.request_id, attempt=each.attempt) for each in now)

    def _next_submits(self) -> list[pb.Submit]:
        chosen: list[pb.Submit] = []
        tokens = 0
        while self._submits:
            tokens += len(self._submits[0].prompt_token_ids)
            if chosen and tokens > _MAX_FRAME_TOKENS:
                break
            chosen.append(self._submits.popleft())
        return chosen

    def receive(self, frame: pb.EngineFrame) -> None:
        """Credits, load and residency first: what the deltas' listeners do then, they do knowing them."""
        self.credits += frame.credits
        self.granted += frame.credits
        if frame.HasField("standing_credits"):
            self.standing = frame.standing_credits
        if frame.HasField("load"):
            self.load = load_value(frame.load)
        if frame.HasField("residency"):
            self.residency.receive(frame.residency)
        for message in frame.deltas:
            entry = self._open.get(message.request_id)
            if entry is None or entry[0] != message.attempt:
                if message.finish_reason:
                    self._end_cancelled(message)
                continue
            _, listener, account = entry
            try:
                self._hear(message, listener, account)
            except Exception:
                # The other submissions of this frame and of this stream have nothing to do with it.
                _log.exception("a submission's news were not understood", extra={"request": message.request_id})
                self.cancel(message.request_id)
                listener.failed(Failure(Internal("The gateway failed on this request: try again.")))

    def _hear(self, message: pb.Delta, listener: Listener, account: Account) -> None:
        if not message.finish_reason:  # nearly all of them
            listener.delta(delta_value(message))
            return
        del self._open[message.request_id]
        self._settle(account, message)
        failure = failure_value(message)
        if failure is None or message.token_ids:
            self._deliver(listener, message, failure)
        if failure is not None:
            listener.failed(failure)

    def _end_cancelled(self, message: pb.Delta) -> None:
        account = self._cancelled.pop(SubmissionId(message.request_id, message.attempt), None)
        if account is not None:
            self._settle(account, message)

    def _settle(self, account: Account, message: pb.Delta) -> None:
        usage = usage_value(message.usage) if message.HasField("usage") else None
        account.ended(SubmissionId(message.request_id, message.attempt), usage, self.acknowledge)

    @staticmethod
    def _deliver(listener: Listener, message: pb.Delta, failure: Failure | None) -> None:
        delta = delta_value(message)
        # Tokens that come with a bad end are the client's all the same.
        listener.delta(delta if failure is None else Delta(delta.token_ids, delta.logprobs))

    def lost(self, failure: Failure) -> None:
        """The stream is gone, and with it every credit and every submission."""
        orphans, self._open = self._open, {}
        cancelled, self._cancelled = self._cancelled, {}
        self.credits, self._is_lost = 0, True
        for submission, account in cancelled.items():
            account.broken(submission)
        for request_id, (attempt, listener, account) in orphans.items():
            account.broken(SubmissionId(request_id, attempt))
            listener.failed(failure)


def _needless(_: SubmissionId) -> bool:
    """The engine never saw it."""
    return True


def _split(items: list[SubmissionId], count: int) -> tuple[list[SubmissionId], list[SubmissionId]]:
    return items[:count], items[count:]
