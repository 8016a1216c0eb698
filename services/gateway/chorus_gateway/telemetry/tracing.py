"""Spans by hand: W3C trace context in from HTTP headers, out through frames and gRPC metadata."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import NoOpTracerProvider, Span, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

PROPAGATOR = TraceContextTextMapPropagator()


class Tracing:
    """Opens spans on one provider. Without a provider spans cost next to nothing and are not recorded, but a caller's
    trace context still travels on."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider or NoOpTracerProvider()
        self.tracer = self._provider.get_tracer("chorus_gateway")

    @classmethod
    def exporting(cls, protocol: str = "grpc") -> "Tracing":
        """Sends spans by OTLP over `protocol` to where the standard OTEL_EXPORTER_OTLP_* variables say;
        OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win over the name here."""
        resource = Resource({"service.name": "chorus-gateway"}).merge(OTELResourceDetector().detect())
        provider = SdkTracerProvider(resource=resource)
        provider.add_span_processor(BatchSpanProcessor(_exporter(protocol)))
        return cls(provider)

    @contextmanager
    def span(
        self, name: str, *, parent: Context | None = None, attributes: Mapping[str, AttributeValue] | None = None
    ) -> Iterator[Span]:
        """`parent` is what `extract` gave; without it the span is a child of the current one."""
        span = self.tracer.start_span(name, context=parent, attributes=attributes)
        if span.is_recording():
            with trace.use_span(span, end_on_exit=True):
                yield span
            return
        token = context.attach(trace.set_span_in_context(span))
        try:
            yield span
        finally:
            context.detach(token)

    def child(self, name: str, parent: Context) -> Span:
        """Of a span that `span` opened, in `parent`. Where that one is not recorded, it is itself the child too: the
        sampler has been asked already."""
        above = trace.get_current_span(parent)
        return self.tracer.start_span(name, context=parent) if above.is_recording() else above

    def shutdown(self) -> None:
        """Sends what is left; waits for the exporter's timeout at most."""
        if isinstance(self._provider, SdkTracerProvider):
            self._provider.shutdown()


def _exporter(protocol: str) -> SpanExporter:
    """Endpoint, headers, certificate and the like are the SDK's to read, by rules that differ between the two."""
    return HttpExporter() if protocol == "http/protobuf" else GrpcExporter()


def extract(headers: Mapping[str, str]) -> Context:
    """The trace context of an incoming request's `traceparent` and `tracestate` headers; empty without them."""
    return PROPAGATOR.extract(headers, context=Context()) if "traceparent" in headers else Context()


def current_traceparent(span: Span | None = None) -> str:
    """W3C `traceparent` of `span`, or of the current span; empty when there is none."""
    told = (span or trace.get_current_span()).get_span_context()
    if not told.is_valid:
        return ""
    return f"00-{told.trace_id:032x}-{told.span_id:016x}-{told.trace_flags:02x}"
