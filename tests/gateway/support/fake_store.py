"""An adapter store in memory: adapters.proto's rules over real gRPC.

tests/gateway/admin/test_store_contract.py holds it to what the real one does.
"""

import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import grpc.aio

from chorus_proto.adapters.v1 import adapters_pb2 as pb
from chorus_proto.adapters.v1 import adapters_pb2_grpc
from tests.gateway.support.fake_calls import TOKEN, missing
from tests.gateway.support.fake_fleet import FakeFleet
from tests.gateway.support.store_rules import named, same, usable

__all__ = ["TOKEN", "FakeStore"]

FETCH_BYTES = 1000
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


class FakeStore(FakeFleet):
    def __init__(self, *models: str) -> None:
        super().__init__()
        self.received = 0  # bytes of uploads, whether they were committed or not
        self.cut_off = 0  # uploads that ended without a commit
        self.max_bytes = 1 << 30
        self.deleted: list[pb.Adapter] = []
        self.history: dict[tuple[str, str], list[pb.Transition]] = {}  # newest first
        self.changes: dict[tuple[str, str, str], list[pb.AliasChange]] = {}  # of aliases that were set, newest first
        self.files: dict[str, dict[str, bytes]] = {}  # by digest
        self.damaged: set[str] = set()  # digests
        self._models = models
        self._last: dict[tuple[str, str], int] = {}  # generation
        self.bucket: dict[str, dict[str, bytes]] = {}  # files by "s3://bucket/prefix"

    async def start(self) -> "FakeStore":
        self._server = grpc.aio.server()
        adapters_pb2_grpc.add_AdapterStoreServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()
        return self

    async def Publish(self, request_iterator: Any, context: Any) -> pb.PublishResponse:
        await self._admit(context)
        committed = False
        try:
            header, files, committed = await self._receive(aiter(request_iterator), context)
        finally:
            self.cut_off += not committed
        if not committed:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the upload ended without a commit")
        return await self._publish(header, files, context)

    async def Import(self, request: pb.ImportRequest, context: Any) -> pb.PublishResponse:
        await self._admit(context)
        if not request.source.startswith("s3://adapters/"):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"source: {request.source!r} may not be read")
        if request.source not in self.bucket:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no {CONFIG} below {request.source}")
        return await self._publish(request.header, self.bucket[request.source], context)

    async def Resolve(self, request: pb.ResolveRequest, context: Any) -> pb.ResolveResponse:
        await self._admit(context)
        version = request.version or "latest"
        found = [
            adapter
            for adapter in self._of(request.owner or request.tenant, request.name)
            if usable(adapter, request.tenant) and request.model in ("", adapter.model)
            if adapter.state == pb.STATE_PUBLISHED
        ]
        canary = next((adapter for adapter in found if version in adapter.canary_of), None)
        for adapter in found:
            if version in (str(adapter.generation), *adapter.aliases):
                percent = canary.canary_of[version] if canary else 0
                return pb.ResolveResponse(adapter=adapter, canary=canary, canary_percent=percent)
        return cast(pb.ResolveResponse, await missing(context))

    async def Get(self, request: pb.GetRequest, context: Any) -> pb.GetResponse:
        await self._admit(context)
        names = request.tenant, request.name, request.generation
        found = [each for each in (*self.adapters, *self.deleted) if request.generation and named(each, *names)]
        return pb.GetResponse(adapter=found[0]) if found else cast(pb.GetResponse, await missing(context))

    async def Fetch(self, request: pb.FetchRequest, context: Any) -> AsyncIterator[pb.FetchChunk]:
        await self._admit(context)
        if request.digest not in self.files:
            await missing(context)
        wanted = {name: data for name, data in self.files[request.digest].items() if request.file in ("", name)}
        for name, data in wanted.items():
            yield pb.FetchChunk(begin=_begin(name, data))
            for at in range(0, len(data), FETCH_BYTES):
                yield pb.FetchChunk(data=data[at : at + FETCH_BYTES])
        if request.digest in self.damaged:
            await context.abort(grpc.StatusCode.DATA_LOSS, "the blob is damaged")

    async def Locate(self, request: pb.LocateRequest, context: Any) -> pb.LocateResponse:
        await self._admit(context)
        if request.digest not in self.files:
            await missing(context)
        return pb.LocateResponse(files=(_begin(name, data) for name, data in self.files[request.digest].items()))

    async def List(self, request: pb.ListRequest, context: Any) -> pb.ListResponse:
        await self._admit(context)
        found = [
            adapter
            for adapter in self.adapters
            if request.tenant in ("", adapter.tenant) or (request.usable and usable(adapter, request.tenant))
            if not request.usable or adapter.state == pb.STATE_PUBLISHED
        ]
        found += [each for each in self.deleted if request.deleted and request.tenant in ("", each.tenant)]
        found.sort(key=lambda adapter: (adapter.tenant, adapter.name, -adapter.generation))
        start = int(request.page_token or 0)
        page = found[start : start + (request.page_size or 100)]
        more = start + len(page) < len(found)
        return pb.ListResponse(adapters=page, next_page_token=str(start + len(page)) if more else "")

    async def SetAlias(self, request: pb.SetAliasRequest, context: Any) -> pb.SetAliasResponse:
        await self._admit(context)
        if request.alias.isdigit():
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "alias: it may not be all digits")
        mine = self._of(request.tenant, request.name)
        holder = next((adapter for adapter in mine if request.alias in adapter.aliases), None)
        target = next((adapter for adapter in mine if adapter.generation == request.generation), holder)
        canary = next((adapter for adapter in mine if adapter.generation == request.canary), None)
        lost = bool(request.canary) and canary is None
        if lost or target is None or (request.generation and target.generation != request.generation):
            return cast(pb.SetAliasResponse, await missing(context))
        self._point(request, holder, target)
        return pb.SetAliasResponse(adapter=target)

    async def RollbackAlias(self, request: pb.RollbackAliasRequest, context: Any) -> pb.RollbackAliasResponse:
        await self._admit(context)
        names = request.tenant, request.name, request.alias
        changes = self.changes.get(names, [])
        before = next((each for each in changes if each.generation and not same(each, changes[0])), None)
        if before is None:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the alias pointed at nothing else before")
            raise AssertionError
        again = pb.SetAliasRequest(tenant=names[0], name=names[1], alias=names[2], generation=before.generation)
        again.canary, again.canary_percent = before.canary, before.canary_percent
        return pb.RollbackAliasResponse(adapter=(await self.SetAlias(again, context)).adapter)

    async def GetAlias(self, request: pb.GetAliasRequest, context: Any) -> pb.GetAliasResponse:
        await self._admit(context)
        changes = self.changes.get((request.tenant, request.name, request.alias))
        if changes is None:
            return cast(pb.GetAliasResponse, await missing(context))
        return pb.GetAliasResponse(changes=changes)

    def _point(self, request: pb.SetAliasRequest, holder: pb.Adapter | None, target: pb.Adapter) -> None:
        if holder is not None:
            holder.aliases.remove(request.alias)
        for adapter in self._of(request.tenant, request.name):
            adapter.canary_of.pop(request.alias, None)
            if request.canary == adapter.generation:
                adapter.canary_of[request.alias] = request.canary_percent
        if request.generation:
            target.aliases.append(request.alias)
        change = pb.AliasChange(generation=request.generation, changed_at=2.0)
        change.canary, change.canary_percent = request.canary, request.canary_percent
        self.changes.setdefault((request.tenant, request.name, request.alias), []).insert(0, change)

    async def SetVisibility(self, request: pb.SetVisibilityRequest, context: Any) -> pb.SetVisibilityResponse:
        await self._admit(context)
        mine = self._of(request.tenant, request.name)
        if not mine:
            return cast(pb.SetVisibilityResponse, await missing(context))
        if bool(request.shared_with) != (request.visibility == pb.VISIBILITY_SHARED):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "shared_with: it goes with visibility 'shared'")
        for adapter in mine:
            adapter.visibility = request.visibility
            adapter.shared_with[:] = request.shared_with
        return pb.SetVisibilityResponse(adapter=mine[0])

    async def Delete(self, request: pb.DeleteRequest, context: Any) -> pb.DeleteResponse:
        await self._admit(context)
        going = [
            adapter
            for adapter in self._of(request.tenant, request.name)
            if request.generation in (0, adapter.generation)
        ]
        if not going:
            return cast(pb.DeleteResponse, await missing(context))
        if request.generation and set(going[0].aliases) - {"latest"}:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "an alias points at this generation")
        self.adapters = [adapter for adapter in self.adapters if adapter not in going]
        for adapter in going:
            self._enter(adapter, pb.STATE_DELETED, request.reason)
        self.deleted += going
        return pb.DeleteResponse(generations_deleted=len(going))

    async def Retire(self, request: pb.RetireRequest, context: Any) -> pb.RetireResponse:
        await self._admit(context)
        mine = self._of(request.tenant, request.name)
        adapter = next((each for each in mine if each.generation == request.generation), None)
        if adapter is None or adapter.state != pb.STATE_PUBLISHED:
            return cast(pb.RetireResponse, await missing(context))
        if set(adapter.aliases) - {"latest"}:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "an alias points at this generation")
        self._enter(adapter, pb.STATE_RETIRED, request.reason)
        return pb.RetireResponse(adapter=adapter)

    async def Restore(self, request: pb.RestoreRequest, context: Any) -> pb.RestoreResponse:
        await self._admit(context)
        names = request.tenant, request.name, request.generation
        retired = [each for each in self.adapters if each.state == pb.STATE_RETIRED and request.generation]
        back = [each for each in (*self.deleted, *retired) if named(each, *names)]
        if not back:
            return cast(pb.RestoreResponse, await missing(context))
        self.adapters = [*(each for each in back if each not in self.adapters), *self.adapters]
        self.deleted = [each for each in self.deleted if each not in back]
        for adapter in back:
            self._enter(adapter, pb.STATE_PUBLISHED, "")
        return pb.RestoreResponse(generations_restored=len(back))

    async def History(self, request: pb.HistoryRequest, context: Any) -> pb.HistoryResponse:
        await self._admit(context)
        return pb.HistoryResponse(transitions=self.history.get((request.tenant, request.name), ()))

    def _enter(self, adapter: pb.Adapter, state: pb.State, reason: str) -> None:
        adapter.state, adapter.reason = state, reason
        transition = pb.Transition(generation=adapter.generation, state=state, reason=reason, at=3.0)
        self.history.setdefault((adapter.tenant, adapter.name), []).insert(0, transition)

    async def _receive(
        self, requests: AsyncIterator[pb.PublishRequest], context: Any
    ) -> tuple[pb.PublishHeader, dict[str, bytes], bool]:
        header = (await anext(requests)).header
        if header.model not in self._models:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"the base model '{header.model}' was never seen")
        files: dict[str, bytes] = {}
        async for request in requests:
            if request.HasField("commit"):
                return header, files, True
            self.received += len(request.chunk.data)
            if self.received > self.max_bytes:
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"more than {self.max_bytes} bytes")
            files[request.chunk.file] = files.get(request.chunk.file, b"") + request.chunk.data
        return header, files, False

    async def _publish(self, header: pb.PublishHeader, files: dict[str, bytes], context: Any) -> pb.PublishResponse:
        try:
            config = json.loads(files[CONFIG])
        except ValueError:
            refused = pb.Transition(state=pb.STATE_REFUSED, reason="adapter_config.json: it is not JSON", at=3.0)
            self.history.setdefault((header.tenant, header.name), []).insert(0, refused)
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, refused.reason)
            raise
        digests = [hashlib.sha256(files[name]).digest() for name in (CONFIG, WEIGHTS)]
        digest = hashlib.sha256(b"".join(digests)).hexdigest()
        self.files[digest] = files
        mine = self._of(header.tenant, header.name)
        if mine and mine[0].digest == digest:
            return pb.PublishResponse(adapter=mine[0], created=False)
        for adapter in mine:
            if "latest" in adapter.aliases:
                adapter.aliases.remove("latest")
        names = {adapter.name for adapter in self.adapters if adapter.tenant == header.tenant} | {header.name}
        if header.quota.adapters and not mine and len(names) > header.quota.adapters:
            await context.abort(grpc.StatusCode.OUT_OF_RANGE, f"adapters: more than {header.quota.adapters}")
        key = (header.tenant, header.name)
        self._last[key] = self._last.get(key, 0) + 1
        adapter = pb.Adapter(
            tenant=header.tenant,
            name=header.name,
            model=header.model,
            generation=self._last[key],
            digest=digest,
            rank=config["r"],
            modules=["layers.0.self_attn.q_proj"],
            size=sum(map(len, files.values())),
            aliases=["latest"],
            created_at=1_700_000_000.5,
            visibility=mine[0].visibility if mine else pb.VISIBILITY_PRIVATE,
            shared_with=mine[0].shared_with if mine else (),
        )
        self.adapters.insert(0, adapter)
        for state in (pb.STATE_UPLOADED, pb.STATE_VALIDATED, pb.STATE_PUBLISHED):
            self._enter(adapter, state, "")
        return pb.PublishResponse(adapter=adapter, created=True)


def _begin(name: str, data: bytes) -> pb.FileBegin:
    return pb.FileBegin(file=name, size=len(data), sha256=hashlib.sha256(data).hexdigest())
