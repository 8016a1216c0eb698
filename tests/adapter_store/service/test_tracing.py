"""Spans of calls reach an OTLP receiver as children of the caller's; without a receiver there are none."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc_exporter
from opentelemetry.exporter.otlp.proto.http import trace_exporter as http_exporter
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from chorus_adapter_store.telemetry.tracing import Tracing
from chorus_proto.adapters.v1 import adapters_pb2 as pb
from chorus_proto.adapters.v1 import adapters_pb2_grpc
from tests.adapter_store.process import TOKEN, running
from tests.adapter_store.service.test_redis import publish
from tests.adapter_store.support import BASE, make_upload

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
METADATA = (("authorization", f"Bearer {TOKEN}"), ("traceparent", f"00-{TRACE}-{PARENT}-01"))


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self) -> None:
        self.spans: list[Span] = []

    def Export(
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        scopes = [scope for resource in request.resource_spans for scope in resource.scope_spans]
        self.spans += [span for scope in scopes for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
def receiver() -> Iterator[tuple[Receiver, str]]:
    servicer = Receiver()
    server = grpc.server(ThreadPoolExecutor(2))
    register: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server  # has no types
    register(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"http://127.0.0.1:{port}"
    server.stop(None).wait()


def test_calls_are_spans_of_the_callers_trace(tmp_path: Path, receiver: tuple[Receiver, str]) -> None:
    servicer, endpoint = receiver
    with running(tmp_path, BASE, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) as store:
        digest = publish(store.address, make_upload()).adapter.digest
        with grpc.insecure_channel(store.address) as channel:
            stub = adapters_pb2_grpc.AdapterStoreStub(channel)
            stub.Resolve(pb.ResolveRequest(tenant="acme", name="tone"), metadata=METADATA)
            assert len(list(stub.Fetch(pb.FetchRequest(digest=digest), metadata=METADATA))) == 4
            with pytest.raises(grpc.RpcError, match="does not exist"):
                stub.Resolve(pb.ResolveRequest(tenant="acme", name="none"), metadata=METADATA)
    spans = {(span.name, span.status.code): span for span in servicer.spans}
    assert spans.keys() == {
        ("adapter.publish", Status.STATUS_CODE_UNSET),
        ("adapter.resolve", Status.STATUS_CODE_UNSET),
        ("adapter.resolve", Status.STATUS_CODE_ERROR),
        ("adapter.fetch", Status.STATUS_CODE_UNSET),
    }
    for (name, _), span in spans.items():
        assert span.kind == Span.SPAN_KIND_SERVER
        if name != "adapter.publish":
            assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)


def test_tracing_is_off_without_an_endpoint() -> None:
    tracing = Tracing(None)
    with tracing.server_span("adapter.resolve", dict(METADATA)) as span:
        assert not span.is_recording()
    tracing.close()


@pytest.mark.parametrize(("protocol", "sent_by"), [("grpc", "grpc"), ("http/protobuf", "http")])
def test_the_protocol_chooses_the_exporter(monkeypatch: pytest.MonkeyPatch, protocol: str, sent_by: str) -> None:
    sent: list[tuple[str, str]] = []
    for kind, module in (("grpc", grpc_exporter), ("http", http_exporter)):

        def export(self: object, spans: Sequence[ReadableSpan], kind: str = kind) -> SpanExportResult:
            sent.extend((kind, span.name) for span in spans)
            return SpanExportResult.SUCCESS

        monkeypatch.setattr(module.OTLPSpanExporter, "export", export)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    tracing = Tracing("http://127.0.0.1:1", protocol)
    with tracing.server_span("adapter.resolve", {}):
        pass
    tracing.close()
    assert sent == [(sent_by, "adapter.resolve")]
