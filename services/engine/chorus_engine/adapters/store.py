"""The adapter store, as the engine sees it: the files of a digest, in pieces as they come."""

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from chorus_engine.adapters.host import FileHead
from chorus_engine.core.errors import AdapterError, AdapterNotFound, AdapterUnavailable
from chorus_proto.adapters.v1 import adapters_pb2 as pb
from chorus_proto.adapters.v1.adapters_pb2_grpc import AdapterStoreStub

if TYPE_CHECKING:  # the stubs' types have it, the module does not
    from chorus_proto.adapters.v1.adapters_pb2_grpc import AdapterStoreAsyncStub

_CHANNEL_OPTIONS = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),  # gRPC's own, a minute, would win over the keepalive's
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # A store that restarts is found again within a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", 4 << 20),
)
_Metadata = tuple[tuple[str, str], ...]


class StoreClient:
    """One channel; with TLS where `roots`, the CA's PEM, is given."""

    def __init__(self, address: str, token: str, *, timeout: float = 60.0, roots: bytes | None = None) -> None:
        self._address = address
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._timeout = timeout  # seconds, for a whole transfer
        if roots is None:
            self._channel = grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
        else:
            credentials = grpc.ssl_channel_credentials(roots)
            self._channel = grpc.aio.secure_channel(address, credentials, options=_CHANNEL_OPTIONS)
        self._stub: AdapterStoreAsyncStub = AdapterStoreStub(self._channel)  # type: ignore[assignment]  # one class, two stubs

    async def fetch(self, digest: str, traceparent: str = "") -> AsyncGenerator[FileHead | bytes]:
        """Each file's head, then its bytes.

        Raises AdapterNotFound, or AdapterUnavailable, which is worth another attempt.
        """
        request = pb.FetchRequest(digest=digest)
        call = self._stub.Fetch(request, metadata=self._trace(traceparent), timeout=self._timeout)
        try:
            async for chunk in call:
                yield _head(chunk.begin) if chunk.WhichOneof("part") == "begin" else chunk.data
        except grpc.aio.AioRpcError as error:
            raise self._translate(digest, error) from None
        finally:
            call.cancel()

    async def locate(self, digest: str, traceparent: str = "") -> tuple[FileHead, ...]:
        """The files of a digest by their own digests. Raises as `fetch`."""
        request = pb.LocateRequest(digest=digest)
        try:
            answer = await self._stub.Locate(request, metadata=self._trace(traceparent), timeout=self._timeout)
        except grpc.aio.AioRpcError as error:
            raise self._translate(digest, error) from None
        return tuple(_head(begin) for begin in answer.files)

    async def close(self) -> None:
        await self._channel.close()

    def _trace(self, traceparent: str) -> _Metadata:
        return (*self._metadata, ("traceparent", traceparent)) if traceparent else self._metadata

    def _translate(self, digest: str, error: grpc.aio.AioRpcError) -> AdapterError:
        match error.code():
            case grpc.StatusCode.NOT_FOUND:
                return AdapterNotFound(f"the adapter store has no adapter {digest}.")
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return AdapterUnavailable(
                    f"the adapter store sent adapter {digest} for longer than {self._timeout:g} s."
                )
            case code:
                return AdapterUnavailable(
                    f"the adapter store at {self._address} did not give adapter {digest}: {code.name} {error.details()}"
                )


def _head(begin: pb.FileBegin) -> FileHead:
    return FileHead(begin.file, begin.size, begin.sha256)
