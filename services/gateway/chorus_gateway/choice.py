"""One answer to one prompt, from its place in the queue to its text."""

import time
from collections.abc import Sequence
from dataclasses import replace

from opentelemetry.context import Context, get_current
from opentelemetry.trace import INVALID_SPAN, Span

from chorus_gateway.answer import End, Piece, TokenEntry
from chorus_gateway.engine_client.inbox import Inbox, News
from chorus_gateway.errors import ConstraintRefused, GatewayError
from chorus_gateway.meter import RequestMeter
from chorus_gateway.telemetry import Tracing, current_traceparent
from chorus_gateway.text.blame import named
from chorus_gateway.text.echo import Echo
from chorus_gateway.text.tools.choice_calls import ChoiceCalls
from chorus_gateway.text.writer import TextWriter
from chorus_gateway.values import Delta, FinishReason, Job, Usage


class Choice:
    """The sink of its job: what the engine sends goes to the request's inbox, and comes back by `read` in its turn."""

    def __init__(
        self,
        index: int,
        job: Job,
        writer: TextWriter,
        inbox: Inbox,
        meter: RequestMeter,
        tracing: Tracing,
        calls: ChoiceCalls | None = None,
        echo: Echo | None = None,
    ) -> None:
        self.index = index
        self.job = job
        self.end: End | None = None
        self.usage: Usage | None = None  # the engine's, as far as the client's last token
        self._writer = writer
        self._calls = calls
        self._echo = echo
        self._inbox = inbox
        self._meter = meter
        self._tracing = tracing
        self._context: Context = get_current()  # the engine's frames arrive outside of the request's context
        self._queued_at = 0.0
        self._last_at: float | None = None
        self._span: Span = INVALID_SPAN

    @property
    def tokens(self) -> int:
        """Tokens that the client is billed."""
        return self._writer.tokens

    @property
    def answered(self) -> bool:
        """Whether the client got anything for its prompt."""
        return self.tokens > 0 or self.end is not None

    def open(self) -> None:
        """The job goes into the queue."""
        self._queued_at = time.monotonic()
        self._span = self._tracing.child("gateway.queue", self._context)

    def dispatched(self) -> str:
        self._meter.left_queue(time.monotonic() - self._queued_at)
        self._span.end()
        self._span = self._tracing.child("gateway.engine", self._context)
        return current_traceparent(self._span)

    def delta(self, delta: Delta) -> bool:
        return self._inbox.put(News(self.index, delta, time.monotonic()))

    def failed(self, error: GatewayError) -> None:
        constraint = self.job.sampling.constraint
        if isinstance(error, ConstraintRefused) and constraint is not None:
            error = named(error, constraint)
        self._span.record_exception(error)
        self._inbox.fail(error)

    def close(self) -> None:
        """Whatever ended it."""
        self._span.end()

    def read(self, news: News) -> Piece | None:
        """What the client is to be told now, if anything. After its `end` a choice has nothing to say."""
        if self.end is not None:
            return None
        delta = news.delta
        if delta.token_ids:
            self._meter.received(len(delta.token_ids), news.at, self._last_at)
            self._last_at = news.at
        if self._calls is None or self._calls.parallel or len(delta.token_ids) < 2:
            return self._read(delta)
        return self._read_singly(delta)

    def _read_singly(self, delta: Delta) -> Piece | None:
        """Token by token, as they come where nothing is guessed ahead: none behind the only call is told or counted."""
        pieces, last = [], len(delta.token_ids) - 1
        for at, token in enumerate(delta.token_ids):
            rest = delta if at == last else delta._replace(finish=None)
            prompt = () if at else delta.prompt
            pieces.append(
                self._read(rest._replace(token_ids=(token,), logprobs=delta.logprobs[at : at + 1], prompt=prompt))
            )
            if self.end is not None:
                break
        return joined([piece for piece in pieces if piece is not None])

    def _read(self, delta: Delta) -> Piece | None:
        text, entries = self._writer.feed(delta)
        if self._writer.stopped:
            self.end = End.STOP
        elif delta.finish is not None:
            self.end = End.LENGTH if delta.finish is FinishReason.LENGTH else End.STOP
            rest, last = self._writer.flush()
            text, entries = text + rest, entries + last
        if self._echo is not None:
            before, told = self._echo.read(delta)
            text, entries = before + text, told + entries
        self.usage = delta.usage or self.usage
        if delta.embedding:
            return Piece(self.index, "", end=self.end, embedding=delta.embedding)
        if self._calls is not None:
            return self._calls_read(self._calls, text, entries)
        return Piece(self.index, text, entries, self.end) if text or entries or self.end is not None else None

    def _calls_read(self, calls: ChoiceCalls, written: str, entries: tuple[TokenEntry, ...]) -> Piece | None:
        text, pieces, self.end = calls.read(written, self.end)
        if text or pieces or entries or self.end is not None:
            return Piece(self.index, text, entries, self.end, pieces)
        return None


def joined(pieces: Sequence[Piece]) -> Piece | None:
    """All of one choice, as one."""
    if not pieces:
        return None
    text, calls = "", []
    for piece in pieces:
        calls += [replace(call, at=len(text) + call.at) for call in piece.calls]
        text += piece.text
    last = pieces[-1]
    return Piece(last.index, text, tuple(entry for piece in pieces for entry in piece.tokens), last.end, tuple(calls))
