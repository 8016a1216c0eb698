"""Spans of requests and adapter fetches, children of the gateway's."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from chorus_engine.core.request import Output, Request, Timing

_PROPAGATOR = TraceContextTextMapPropagator()


class Tracing:
    """Built with a span processor it records, else every call does nothing."""

    def __init__(self, engine_id: str, processor: SpanProcessor | None) -> None:
        self._provider: TracerProvider | None = None
        self._tracer: Tracer = trace.NoOpTracer()
        if processor is not None:
            # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES, read by the SDK, win over the name here.
            resource = Resource({SERVICE_NAME: "chorus-engine", SERVICE_INSTANCE_ID: engine_id})
            self._provider = TracerProvider(resource=resource.merge(_resource_from_environment()))
            self._provider.add_span_processor(processor)
            self._tracer = self._provider.get_tracer("chorus_engine")

    @classmethod
    def from_endpoint(cls, engine_id: str, endpoint: str | None, protocol: str = "grpc") -> "Tracing":
        """OTLP over `protocol` by the standard OTEL_* variables; nothing is recorded without an endpoint."""
        return cls(engine_id, BatchSpanProcessor(_exporter(protocol)) if endpoint else None)

    def finished(self, request: Request, output: Output) -> None:
        """The spans of a request, told from its timing at its end."""
        if self._provider is None:
            return
        timing = output.timing or Timing()
        stops = _stops(timing, time.time_ns())
        span = self._tracer.start_span("engine.request", _parent(request.traceparent), start_time=stops[0])
        _describe(span, request, output)
        context = trace.set_span_in_context(span)
        reached = (timing.queued, timing.prefill, timing.decode)
        for name, seconds, start, end in zip(("queued", "prefill", "decode"), reached, stops, stops[1:], strict=False):
            if seconds:
                self._tracer.start_span(f"engine.{name}", context, start_time=start).end(end)
        span.end(stops[-1])

    @contextmanager
    def fetch(self, digest: str, traceparent: str) -> Iterator[str]:
        """A span around an adapter's way into host memory; gives the traceparent for the store."""
        with self._tracer.start_as_current_span(
            "adapter.fetch", _parent(traceparent), attributes={"adapter.digest": digest}, record_exception=False
        ) as span:
            carrier: dict[str, str] = {}
            _PROPAGATOR.inject(carrier, trace.set_span_in_context(span))
            yield carrier.get("traceparent", "")

    def close(self) -> None:
        """Send what is recorded, for 2 s at most: a collector that is away must not hold up the end."""
        if self._provider is not None:
            thread = threading.Thread(target=self._provider.shutdown, name="tracing-shutdown", daemon=True)
            thread.start()
            thread.join(2.0)


def _exporter(protocol: str) -> SpanExporter:
    """Endpoint, headers, certificate and the like are the SDK's to read, by rules that differ between the two."""
    return HttpExporter() if protocol == "http/protobuf" else GrpcExporter()


def _resource_from_environment() -> Resource:
    given = Resource.create().attributes
    return Resource({key: value for key, value in given.items() if not str(value).startswith("unknown_service")})


def _parent(traceparent: str) -> Context:
    return _PROPAGATOR.extract({"traceparent": traceparent} if traceparent else {}, context=Context())


def _stops(timing: Timing, end: int) -> tuple[int, int, int, int]:
    """When the request came, was scheduled, gave its first token and ended, in ns since 1970."""
    first = end - round(timing.decode * 1e9)
    scheduled = first - round(timing.prefill * 1e9)
    return scheduled - round(timing.queued * 1e9), scheduled, first, end


def _describe(span: Span, request: Request, output: Output) -> None:
    span.set_attribute("request.id", request.id)
    span.set_attribute("adapter.digest", request.adapter or "")
    span.set_attribute("finish_reason", output.finish or "")
    if output.usage is not None:
        span.set_attribute("prompt_tokens", output.usage.prompt_tokens)
        span.set_attribute("completion_tokens", output.usage.completion_tokens)
    if output.error is not None:
        span.set_status(Status(StatusCode.ERROR, str(output.error)))
