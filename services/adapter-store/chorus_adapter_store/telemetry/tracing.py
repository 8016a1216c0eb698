"""Spans of the store's calls, children of the caller's by the `traceparent` in the metadata.

By hand, not by an interceptor: the ready-made ones break streaming handlers and lose cancelled spans.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import NoOpTracer, Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator


class Tracing:
    """Off without an endpoint. Where and how spans go, the standard OTEL_* variables tell the SDK."""

    def __init__(self, endpoint: str | None, protocol: str = "grpc") -> None:
        self._provider: TracerProvider | None = None
        self._tracer: Tracer = NoOpTracer()
        if endpoint:
            # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win over the name here.
            named = Resource.create({"service.name": "chorus-adapter-store"})
            resource = named.merge(OTELResourceDetector().detect())
            self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
            self._provider.add_span_processor(BatchSpanProcessor(_exporter(protocol)))
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


def _exporter(protocol: str) -> SpanExporter:
    """Endpoint, headers, certificate and the like are the SDK's to read, by rules that differ between the two."""
    return HttpExporter() if protocol == "http/protobuf" else GrpcExporter()
