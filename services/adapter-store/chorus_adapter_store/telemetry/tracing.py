"""Spans of the store's calls, children of the caller's by the `traceparent` in the metadata.

By hand, not by an interceptor: the ready-made ones break streaming handlers and lose cancelled spans.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NoOpTracer, Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Tracing:
    """Off unless a standard OTLP endpoint variable is set."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._provider: TracerProvider | None = None
        self._tracer: Tracer = NoOpTracer()
        if any(environment.get(name) for name in _ENDPOINTS):
            name = environment.get("OTEL_SERVICE_NAME", "chorus-adapter-store")
            self._provider = TracerProvider(resource=Resource.create({"service.name": name}), shutdown_on_exit=False)
            self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
            self._tracer = self._provider.get_tracer("chorus_adapter_store")

    @contextmanager
    def server_span(self, name: str, metadata: Mapping[str, str]) -> Iterator[Span]:
        """Never the current span of the context: a streaming handler may be closed in another one."""
        parent = TraceContextTextMapPropagator().extract(metadata)
        span = self._tracer.start_span(name, context=parent, kind=SpanKind.SERVER)
        try:
            yield span
        except BaseException as error:
            span.set_status(Status(StatusCode.ERROR, str(error) or type(error).__name__))
            raise
        finally:
            span.end()

    def close(self) -> None:
        if self._provider is not None:
            self._provider.shutdown()
