"""Calls of a store that runs."""

from collections.abc import Iterator

from chorus_adapter_store.values import CONFIG_FILE, WEIGHTS_FILE
from chorus_proto.adapters.v1 import adapters_pb2 as pb
from chorus_proto.adapters.v1 import adapters_pb2_grpc
from tests.adapter_store.process import TOKEN
from tests.adapter_store.support import Upload

METADATA = (("authorization", f"Bearer {TOKEN}"),)
_CHUNK = 50_000


def publish(stub: "adapters_pb2_grpc.AdapterStoreStub", upload: Upload) -> str:
    """As acme's `tone`; returns its digest."""
    return stub.Publish(_requests(upload), metadata=METADATA).adapter.digest


def fetch(stub: "adapters_pb2_grpc.AdapterStoreStub", digest: str) -> bytes:
    """The weights."""
    request = pb.FetchRequest(digest=digest, file=WEIGHTS_FILE)
    return b"".join(chunk.data for chunk in stub.Fetch(request, metadata=METADATA))


def _requests(upload: Upload) -> Iterator[pb.PublishRequest]:
    yield pb.PublishRequest(header=pb.PublishHeader(tenant="acme", name="tone", model="demo"))
    yield pb.PublishRequest(chunk=pb.FileChunk(file=CONFIG_FILE, data=upload.config_bytes))
    weights = upload.weights_bytes
    for at in range(0, len(weights), _CHUNK):
        yield pb.PublishRequest(chunk=pb.FileChunk(file=WEIGHTS_FILE, data=weights[at : at + _CHUNK]))
    yield pb.PublishRequest(commit=pb.Commit())
