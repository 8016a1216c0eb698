"""Whatever serves adapters.proto is held to the same cases: each implementation is a context manager in IMPLEMENTATIONS
that yields the address of a server which knows BASE and WIDE, allows rank 16 and weights of 4 MiB, and takes TOKEN."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import grpc
import pytest

from chorus_adapter_store.values import CONFIG_FILE, WEIGHTS_FILE, LinearModule
from chorus_gateway.adapters.statuses import StatusWatch
from chorus_proto.adapters.v1 import adapters_pb2 as pb
from chorus_proto.adapters.v1 import adapters_pb2_grpc
from tests.adapter_store.process import TOKEN, running
from tests.adapter_store.support import BASE, Upload

CHUNK = 1 << 20
# Large enough for weights of several chunks.
WIDE = replace(BASE, name="wide", digest="31de" * 16, modules=(LinearModule("self_attn.q_proj", 8192, 8192),))


@contextmanager
def real_store(folder: Path) -> Iterator[str]:
    limits = {"CHORUS_MAX_LORA_RANK": "16", "CHORUS_STORE_MAX_ADAPTER_BYTES": str(4 << 20)}
    with running(folder, BASE, WIDE, **limits, CHORUS_STORE_UPLOAD_IDLE_TIMEOUT="1") as store:
        yield store.address


IMPLEMENTATIONS: tuple[Callable[[Path], AbstractContextManager[str]], ...] = (real_store,)


# On one worker: else each would start a process of its own.
@pytest.fixture(
    scope="session",
    params=[pytest.param(each, marks=pytest.mark.xdist_group("store-contract")) for each in IMPLEMENTATIONS],
)
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with request.param(tmp_path_factory.mktemp("store")) as found:
        yield found


@dataclass(frozen=True)
class Client:
    """The generated stub with the token, and one tenant for each test."""

    stub: "adapters_pb2_grpc.AdapterStoreAsyncStub"
    tenant: str
    metadata: tuple[tuple[str, str], ...] = (("authorization", f"Bearer {TOKEN}"),)

    def header(self, **changes: str) -> pb.PublishRequest:
        fields = {"tenant": self.tenant, "name": "tone", "model": "demo", **changes}
        tenant, name, model = fields["tenant"], fields["name"], fields["model"]
        return pb.PublishRequest(header=pb.PublishHeader(tenant=tenant, name=name, model=model))

    async def send(self, *requests: pb.PublishRequest) -> pb.PublishResponse:
        call = self.stub.Publish(iter(requests), metadata=self.metadata)
        statuses = StatusWatch(call)
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            code, details = await statuses.final()
            raise grpc.aio.AioRpcError(
                code, error.initial_metadata(), error.trailing_metadata(), details=details
            ) from error

    async def publish(self, upload: Upload, **header: str) -> pb.PublishResponse:
        return await self.send(self.header(**header), *chunks(upload), COMMIT)

    async def publish_within(self, quota: pb.Quota, upload: Upload, **header: str) -> pb.PublishResponse:
        first = self.header(**header)
        first.header.quota.CopyFrom(quota)
        return await self.send(first, *chunks(upload), COMMIT)

    async def resolve(self, name: str = "tone", version: str = "", **changes: str) -> pb.Adapter:
        return (await self.resolution(name, version, **changes)).adapter

    async def resolution(self, name: str = "tone", version: str = "", **changes: str) -> pb.ResolveResponse:
        fields = {"tenant": self.tenant, "model": "demo", **changes}
        return await self.stub.Resolve(pb.ResolveRequest(name=name, version=version, **fields), metadata=self.metadata)

    async def get(self, generation: int, name: str = "tone") -> pb.Adapter:
        request = pb.GetRequest(tenant=self.tenant, name=name, generation=generation)
        return (await self.stub.Get(request, metadata=self.metadata)).adapter

    async def fetch(self, digest: str, file: str = "") -> list[pb.FetchChunk]:
        call = self.stub.Fetch(pb.FetchRequest(digest=digest, file=file), metadata=self.metadata)
        return [chunk async for chunk in call]

    async def list(self, **fields: object) -> pb.ListResponse:
        request = pb.ListRequest(**{"tenant": self.tenant, **fields})  # type: ignore[arg-type]  # mixed field types
        return await self.stub.List(request, metadata=self.metadata)

    async def set_alias(
        self, alias: str, generation: int, name: str = "tone", canary: int = 0, percent: int = 0
    ) -> pb.Adapter:
        request = pb.SetAliasRequest(tenant=self.tenant, name=name, alias=alias, generation=generation)
        request.canary, request.canary_percent = canary, percent
        return (await self.stub.SetAlias(request, metadata=self.metadata)).adapter

    async def rollback(self, alias: str, name: str = "tone") -> pb.Adapter:
        request = pb.RollbackAliasRequest(tenant=self.tenant, name=name, alias=alias)
        return (await self.stub.RollbackAlias(request, metadata=self.metadata)).adapter

    async def changes(self, alias: str, name: str = "tone") -> Sequence[tuple[int, int, int]]:
        request = pb.GetAliasRequest(tenant=self.tenant, name=name, alias=alias)
        answer = await self.stub.GetAlias(request, metadata=self.metadata)
        return [(each.generation, each.canary, each.canary_percent) for each in answer.changes]

    async def share(self, visibility: int, *tenants: str, name: str = "tone") -> pb.Adapter:
        request = pb.SetVisibilityRequest(tenant=self.tenant, name=name, shared_with=tenants)
        request.visibility = visibility  # type: ignore[assignment]  # numbers that are none are sent too
        return (await self.stub.SetVisibility(request, metadata=self.metadata)).adapter

    async def retire(self, generation: int, reason: str = "", name: str = "tone") -> pb.Adapter:
        request = pb.RetireRequest(tenant=self.tenant, name=name, generation=generation, reason=reason)
        return (await self.stub.Retire(request, metadata=self.metadata)).adapter

    async def restore(self, generation: int = 0, name: str = "tone", quota: pb.Quota | None = None) -> int:
        request = pb.RestoreRequest(tenant=self.tenant, name=name, generation=generation, quota=quota)
        return (await self.stub.Restore(request, metadata=self.metadata)).generations_restored

    async def history(self, name: str = "tone") -> Sequence[tuple[int, int, str]]:
        request = pb.HistoryRequest(tenant=self.tenant, name=name)
        answer = await self.stub.History(request, metadata=self.metadata)
        return [(each.generation, each.state, each.reason) for each in answer.transitions]

    async def delete(self, generation: int = 0, name: str = "tone", reason: str = "") -> int:
        request = pb.DeleteRequest(tenant=self.tenant, name=name, generation=generation, reason=reason)
        return (await self.stub.Delete(request, metadata=self.metadata)).generations_deleted


COMMIT = pb.PublishRequest(commit=pb.Commit())


def chunk(file: str, data: bytes) -> pb.PublishRequest:
    return pb.PublishRequest(chunk=pb.FileChunk(file=file, data=data))


def chunks(upload: Upload) -> list[pb.PublishRequest]:
    weights = upload.weights_bytes
    parts = [chunk(WEIGHTS_FILE, weights[at : at + CHUNK]) for at in range(0, len(weights), CHUNK)]
    return [chunk(CONFIG_FILE, upload.config_bytes), *parts]


@pytest.fixture
async def client(address: str) -> AsyncIterator[Client]:
    async with grpc.aio.insecure_channel(address) as channel:
        stub: adapters_pb2_grpc.AdapterStoreAsyncStub = adapters_pb2_grpc.AdapterStoreStub(channel)  # type: ignore[assignment]  # the stubs' own way
        yield Client(stub, f"t-{uuid4().hex}")
