"""Spans of requests and fetches."""

import time
from collections.abc import Sequence

import pytest
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc_exporter
from opentelemetry.exporter.otlp.proto.http import trace_exporter as http_exporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from chorus_engine.core.errors import AdapterNotFound
from chorus_engine.core.request import FinishReason, Output, Request, SamplingParams, Timing, Usage
from chorus_engine.telemetry import Tracing

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter: InMemorySpanExporter) -> Tracing:
    return Tracing("e1", SimpleSpanProcessor(exporter))


def request(traceparent: str = TRACEPARENT) -> Request:
    return Request("0:a", (1, 2), SamplingParams(4), adapter="ab" * 32, traceparent=traceparent)


def ids(span: ReadableSpan) -> tuple[str, str]:
    """Trace and span."""
    context = span.get_span_context()
    assert context is not None
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def parent_of(span: ReadableSpan) -> str:
    assert span.parent is not None
    return f"{span.parent.span_id:016x}"


def seconds(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


def test_a_request_is_told_in_four_spans(tracing: Tracing, exporter: InMemorySpanExporter) -> None:
    tracing.finished(request(), Output("0:a", (), FinishReason.STOP, None, Usage(2, 4), Timing(0.5, 1.0, 2.0)))
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert spans.keys() == {"engine.request", "engine.queued", "engine.prefill", "engine.decode"}
    whole = spans["engine.request"]
    assert ids(whole)[0] == TRACE
    assert parent_of(whole) == SPAN
    assert whole.attributes is not None
    assert (whole.attributes["finish_reason"], whole.attributes["completion_tokens"]) == ("stop", 4)
    children = [spans[name] for name in ("engine.queued", "engine.prefill", "engine.decode")]
    for child, length in zip(children, (0.5, 1.0, 2.0), strict=True):
        assert parent_of(child) == ids(whole)[1]
        assert seconds(child) == pytest.approx(length, abs=1e-6)
    assert children[0].start_time == whole.start_time
    assert children[0].end_time == children[1].start_time
    assert children[1].end_time == children[2].start_time
    assert children[2].end_time == whole.end_time
    assert whole.end_time is not None
    assert abs(whole.end_time / 1e9 - time.time()) < 60
    assert whole.resource.attributes["service.name"] == "chorus-engine"


def test_a_request_that_never_ran_has_no_phases(tracing: Tracing, exporter: InMemorySpanExporter) -> None:
    error = AdapterNotFound("there is none.")
    tracing.finished(request(), Output("0:a", (), FinishReason.ERROR, error))
    (span,) = exporter.get_finished_spans()
    assert (span.name, span.status.status_code) == ("engine.request", StatusCode.ERROR)


def test_the_store_is_told_the_fetchs_span(tracing: Tracing, exporter: InMemorySpanExporter) -> None:
    with tracing.fetch("ab" * 32, TRACEPARENT) as onward:
        version, trace_id, span_id, flags = onward.split("-")
    (span,) = exporter.get_finished_spans()
    assert (version, trace_id, flags) == ("00", TRACE, "01")
    assert span_id == ids(span)[1] != SPAN
    assert span.name == "adapter.fetch"


def _failing_fetch(tracing: Tracing) -> None:
    with tracing.fetch("ab" * 32, ""):
        raise AdapterNotFound("there is none.")


def test_a_fetch_that_fails_says_so(tracing: Tracing, exporter: InMemorySpanExporter) -> None:
    with pytest.raises(AdapterNotFound):
        _failing_fetch(tracing)
    (span,) = exporter.get_finished_spans()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "AdapterNotFound: there is none.")
    assert span.parent is None


def test_without_an_endpoint_nothing_is_recorded_and_the_parent_is_passed_on() -> None:
    tracing = Tracing.from_endpoint("e1", None)
    tracing.finished(request(), Output("0:a", (), FinishReason.STOP))
    with tracing.fetch("ab" * 32, TRACEPARENT) as onward:
        assert onward == TRACEPARENT
    with tracing.fetch("ab" * 32, "") as onward:
        assert onward == ""
    tracing.close()


@pytest.mark.parametrize("traceparent", ["", "nonsense", "00-0-0-00"])
def test_a_traceparent_that_is_none_begins_a_trace(
    tracing: Tracing, exporter: InMemorySpanExporter, traceparent: str
) -> None:
    tracing.finished(request(traceparent), Output("0:a", (), FinishReason.STOP))
    (span,) = exporter.get_finished_spans()
    assert span.parent is None


@pytest.mark.parametrize(("protocol", "sent_by"), [("grpc", "grpc"), ("http/protobuf", "http")])
def test_the_protocol_chooses_the_exporter(monkeypatch: pytest.MonkeyPatch, protocol: str, sent_by: str) -> None:
    sent: list[tuple[str, str]] = []
    for kind, module in (("grpc", grpc_exporter), ("http", http_exporter)):

        def export(self: object, spans: Sequence[ReadableSpan], kind: str = kind) -> SpanExportResult:
            sent.extend((kind, span.name) for span in spans)
            return SpanExportResult.SUCCESS

        monkeypatch.setattr(module.OTLPSpanExporter, "export", export)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    tracing = Tracing.from_endpoint("e1", "http://127.0.0.1:1", protocol)
    tracing.finished(request(), Output("0:a", (), FinishReason.STOP))
    tracing.close()
    assert sent == [(sent_by, "engine.request")]
