import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from chorus_gateway.telemetry import Tracing, current_traceparent
from chorus_gateway.telemetry.logs import JsonFormatter
from chorus_gateway.telemetry.tracing import extract

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Receiver(TraceServiceServicer):
    """An OTLP collector."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.arrived = threading.Event()

    def Export(self, request: ExportTraceServiceRequest, context: object) -> ExportTraceServiceResponse:
        self.requests.append(request)
        self.arrived.set()
        return ExportTraceServiceResponse()


@contextmanager
def receiving() -> Iterator[tuple[Receiver, str]]:
    receiver, server = Receiver(), grpc.server(futures.ThreadPoolExecutor(1))
    add_TraceServiceServicer_to_server(receiver, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield receiver, f"http://127.0.0.1:{port}"
    server.stop(None).wait()


@contextmanager
def receiving_over_http() -> Iterator[tuple[Receiver, str]]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            known = (self.path, self.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
            self.send_response(200 if known else 404)
            self.end_headers()
            if known:
                self.wfile.write(receiver.Export(ExportTraceServiceRequest.FromString(body), None).SerializeToString())

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield receiver, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("protocol", "serve"), [("grpc", receiving), ("http/protobuf", receiving_over_http)])
def test_spans_reach_an_otlp_receiver_with_their_parents(
    monkeypatch: pytest.MonkeyPatch, protocol: str, serve: Callable[[], AbstractContextManager[tuple[Receiver, str]]]
) -> None:
    with serve() as (receiver, url):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        tracing = Tracing.exporting(protocol)
        with tracing.span("outer", parent=extract({"traceparent": PARENT})), tracing.span("inner"):
            inner = current_traceparent()
        tracing.shutdown()
        assert receiver.arrived.wait(10)
    [resource] = receiver.requests[0].resource_spans
    names = {attribute.key: attribute.value.string_value for attribute in resource.resource.attributes}
    assert names["service.name"] == "chorus-gateway"
    spans = {span.name: span for span in resource.scope_spans[0].spans}
    assert spans["outer"].trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert spans["outer"].parent_span_id.hex() == "b7ad6b7169203331"
    assert spans["inner"].parent_span_id == spans["outer"].span_id
    assert inner == f"00-{spans['inner'].trace_id.hex()}-{spans['inner'].span_id.hex()}-01"


def test_without_an_exporter_a_callers_trace_still_travels_on() -> None:
    tracing = Tracing()
    assert current_traceparent() == ""
    with tracing.span("outer", parent=extract({"traceparent": PARENT})):
        assert current_traceparent() == PARENT
    with tracing.span("alone", parent=extract({})):
        assert current_traceparent() == ""
    tracing.shutdown()


def test_logs_are_one_json_object_a_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        error = sys.exc_info()
    record = logging.LogRecord("chorus_gateway.x", logging.WARNING, "", 0, "lost %s", ("it",), error)
    record.tenant = "acme"
    line = JsonFormatter().format(record)
    assert "\n" not in line
    shown = json.loads(line)
    assert (shown["level"], shown["message"], shown["tenant"]) == ("warning", "lost it", "acme")
    assert "ValueError: two" in shown["exception"]
