"""A double of the adapter store that serves Fetch over real gRPC."""

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from chorus_engine.adapters import AdapterFiles
from chorus_proto.adapters.v1 import adapters_pb2 as pb

_CHUNK = 1 << 20


class StoreDouble:
    """Tests put files and failures in, and read what was asked."""

    def __init__(self, token: str) -> None:
        self._token = token
        self.port = 0
        self.files: dict[str, AdapterFiles] = {}
        self.failures: list[grpc.StatusCode] = []  # given to the next calls, first to last
        self.gate = threading.Event()  # Fetch waits for it
        self.gate.set()
        self.fetched: list[str] = []
        self.located: list[str] = []
        self.traceparents: list[str] = []
        self._make_server()
        self.address = f"127.0.0.1:{self.port}"

    def _make_server(self) -> None:
        # As the store does, it lets clients ask every 20 s whether it is there; without this it would send them away.
        options = [("grpc.keepalive_permit_without_calls", 1), ("grpc.http2.min_ping_interval_without_data_ms", 5_000)]
        self._server = grpc.server(ThreadPoolExecutor(4), options=options)
        fetch = grpc.unary_stream_rpc_method_handler(
            self._fetch,
            request_deserializer=pb.FetchRequest.FromString,
            response_serializer=pb.FetchChunk.SerializeToString,
        )
        locate = grpc.unary_unary_rpc_method_handler(
            self._locate,
            request_deserializer=pb.LocateRequest.FromString,
            response_serializer=pb.LocateResponse.SerializeToString,
        )
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {"Fetch": fetch, "Locate": locate}
        service = grpc.method_handlers_generic_handler("chorus.adapters.v1.AdapterStore", handlers)
        self._server.add_generic_rpc_handlers([service])
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop(0).wait()

    def restart(self) -> None:
        """At the same port."""
        self.stop()
        self._make_server()
        self.start()

    def put(self, files: AdapterFiles, digest: str | None = None) -> str:
        digest = digest or files.digest()
        self.files[digest] = files
        return digest

    def _locate(self, request: pb.LocateRequest, context: Any) -> pb.LocateResponse:
        self.located.append(request.digest)
        if request.digest not in self.files:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such adapter")
        files = self.files[request.digest]
        return pb.LocateResponse(
            files=[_begin("adapter_config.json", files.config), _begin("adapter_model.safetensors", files.model)]
        )

    def _fetch(self, request: pb.FetchRequest, context: Any) -> Iterator[pb.FetchChunk]:
        metadata = dict(context.invocation_metadata())
        if metadata.get("authorization") != f"Bearer {self._token}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")
        self.fetched.append(request.digest)
        self.traceparents.append(metadata.get("traceparent", ""))
        assert self.gate.wait(10)
        if self.failures:
            context.abort(self.failures.pop(0), "as the test wants")
        if request.digest not in self.files:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such adapter")
        files = self.files[request.digest]
        yield from _file("adapter_config.json", files.config)
        yield from _file("adapter_model.safetensors", files.model)


def _file(name: str, content: bytes) -> Iterator[pb.FetchChunk]:
    yield pb.FetchChunk(begin=_begin(name, content))
    for start in range(0, len(content), _CHUNK):
        yield pb.FetchChunk(data=content[start : start + _CHUNK])


def _begin(name: str, content: bytes) -> pb.FileBegin:
    return pb.FileBegin(file=name, size=len(content), sha256=hashlib.sha256(content).hexdigest())
