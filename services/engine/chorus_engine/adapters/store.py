"""The adapter store, as the engine sees it: the files of a digest."""

import hashlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from chorus_engine.adapters.host import AdapterFiles
from chorus_engine.core.errors import AdapterError, AdapterNotFound, AdapterUnavailable, AdapterUnusable
from chorus_proto.adapters.v1 import adapters_pb2 as pb
from chorus_proto.adapters.v1.adapters_pb2_grpc import AdapterStoreStub

if TYPE_CHECKING:  # the stubs' types have it, the module does not
    from chorus_proto.adapters.v1.adapters_pb2_grpc import AdapterStoreAsyncStub

_FILES = frozenset({"adapter_config.json", "adapter_model.safetensors"})
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


class StoreClient:
    """One channel. `max_bytes` bounds what one adapter may take of this process's memory. TLS with `credentials`."""

    def __init__(
        self,
        address: str,
        token: str,
        *,
        max_bytes: int,
        timeout: float = 60.0,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self._address = address
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._max_bytes = max_bytes
        self._timeout = timeout  # seconds, for the whole transfer
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
        else:
            self._channel = grpc.aio.secure_channel(address, credentials, options=_CHANNEL_OPTIONS)
        self._stub: AdapterStoreAsyncStub = AdapterStoreStub(self._channel)  # type: ignore[assignment]  # one class, two stubs

    async def fetch(self, digest: str, traceparent: str = "") -> AdapterFiles:
        """Both files, each of the size and SHA-256 that the store gives it.

        Raises AdapterNotFound, AdapterUnusable, or AdapterUnavailable, which is worth another attempt.
        """
        metadata = (*self._metadata, ("traceparent", traceparent)) if traceparent else self._metadata
        call = self._stub.Fetch(pb.FetchRequest(digest=digest), metadata=metadata, timeout=self._timeout)
        try:
            files = await self._read(digest, aiter(call))
        except grpc.aio.AioRpcError as error:
            raise self._translate(digest, error) from None
        finally:
            call.cancel()
        if files.keys() != _FILES:
            raise AdapterUnusable(f"the store gave {sorted(files)} for adapter {digest}; it must give both files.")
        return AdapterFiles(bytes(files["adapter_config.json"]), bytes(files["adapter_model.safetensors"]))

    async def close(self) -> None:
        await self._channel.close()

    async def _read(self, digest: str, chunks: AsyncIterator[pb.FetchChunk]) -> dict[str, bytearray]:
        files: dict[str, bytearray] = {}
        begun: list[pb.FileBegin] = []
        async for chunk in chunks:
            if chunk.WhichOneof("part") == "begin":
                begun.append(chunk.begin)
                self._check_begin(digest, begun)
                files[chunk.begin.file] = bytearray()
            elif begun and len(files[begun[-1].file]) + len(chunk.data) <= begun[-1].size:
                files[begun[-1].file] += chunk.data
            else:
                raise AdapterUnusable(f"the store sent more of adapter {digest} than the sizes that it gave.")
        for begin in begun:
            actual = hashlib.sha256(files[begin.file]).hexdigest()
            if len(files[begin.file]) != begin.size or actual != begin.sha256:
                raise AdapterUnusable(f"{begin.file} of adapter {digest} hashes to {actual}, not to {begin.sha256}.")
        return files

    def _check_begin(self, digest: str, begun: list[pb.FileBegin]) -> None:
        names = [begin.file for begin in begun]
        if names[-1] not in _FILES or len(set(names)) != len(names):
            raise AdapterUnusable(
                f"the store gave a file {names[-1]!r} for adapter {digest}; it must give both files once."
            )
        if (size := sum(begin.size for begin in begun)) > self._max_bytes:
            raise AdapterUnusable(
                f"adapter {digest} has {size} bytes; this engine holds at most {self._max_bytes} "
                "(CHORUS_HOST_ADAPTER_MEMORY)."
            )

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
