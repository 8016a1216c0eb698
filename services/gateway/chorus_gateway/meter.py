"""One request's figures, observed as it goes."""

import asyncio
import time
from types import TracebackType
from typing import Self

from chorus_gateway.telemetry import Metrics


class RequestMeter:
    """Entered at the request's arrival. Times are on the monotonic clock. `tenant` is set once it is known."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._arrived = time.monotonic()
        self._first_token: float | None = None
        self._last_token = 0.0
        self._tokens = 0
        self.tenant = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._metrics.generation_tokens_total.inc(self._tokens)
        if error is None:
            self._metrics.e2e_request_latency_seconds.observe(time.monotonic() - self._arrived)
            return
        reason = "cancelled" if isinstance(error, asyncio.CancelledError) else "error"
        self._metrics.request_success_total.labels(finished_reason=reason).inc()

    def left_queue(self, seconds: float) -> None:
        self._metrics.request_queue_time_seconds.observe(seconds)

    def received(self, tokens: int, at: float, previous: float | None) -> None:
        """`tokens` of one choice that came together, the choice's last ones before them at `previous`."""
        if self._first_token is None:
            self._first_token = at
            self._metrics.time_to_first_token_seconds.observe(at - self._arrived)
        if previous is not None:
            self._metrics.inter_token_latency_seconds.observe(at - previous)
        self._last_token = at
        self._tokens += tokens
        self._metrics.tenant_tokens.add(self.tenant, tokens)

    def finished(self, reasons: list[str], prompt_tokens: int) -> None:
        """All went well: the reason of every choice."""
        for reason in reasons:
            self._metrics.request_success_total.labels(finished_reason=reason).inc()
        self._metrics.prompt_tokens_total.inc(prompt_tokens)
        if self._first_token is not None and self._tokens > len(reasons) and self._last_token > self._first_token:
            spent = self._last_token - self._first_token
            # Choices run at once, each with a first token that waited for its prompt.
            self._metrics.time_per_output_token_seconds.observe(spent * len(reasons) / (self._tokens - len(reasons)))
