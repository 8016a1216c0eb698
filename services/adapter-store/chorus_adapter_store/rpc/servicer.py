"""The service of adapters.proto: each method translates, asks the store, and translates back."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc

from chorus_adapter_store.errors import InvalidArgument, NotFound, Precondition, QuotaExceeded, Stalled, TooLarge
from chorus_adapter_store.placement.pinning import Pinning
from chorus_adapter_store.rpc.fleet import FleetServicer
from chorus_adapter_store.rpc.status import Calls
from chorus_adapter_store.rpc.translate import (
    adapter_message,
    alias_change,
    file_begin,
    page_token,
    parse_page_token,
    parse_quota,
    parse_sharing,
    resolve_response,
    transition_message,
)
from chorus_adapter_store.rpc.uploads import UploadStream
from chorus_adapter_store.store import AdapterStore
from chorus_adapter_store.telemetry.metrics import Metrics
from chorus_adapter_store.values import Generation, Target
from chorus_proto.adapters.v1 import adapters_pb2 as pb

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_REFUSALS = (InvalidArgument, NotFound, Precondition, QuotaExceeded, TooLarge)
_DEFAULT_PAGE = 100
_MAX_PAGE = 1000
# Of a file, in one message: whoever reads is at work on the first while the next ones come.
_PART_BYTES = 256 << 10
_MAX_PAGE_BYTES = 3 << 20  # below gRPC's default limit of 4 MiB a message


class AdapterServicer(FleetServicer):
    def __init__(
        self, store: AdapterStore, pinning: Pinning, calls: Calls, metrics: Metrics, *, idle_seconds: float
    ) -> None:
        super().__init__(pinning, calls)
        self._store = store
        self._metrics = metrics
        self._idle_seconds = idle_seconds

    async def Publish(
        self, request_iterator: AsyncIterator[pb.PublishRequest], context: _Context
    ) -> pb.PublishResponse:
        async with self._calls.answering("publish", context):
            return await self._counted(self._publish(UploadStream(request_iterator, self._idle_seconds, self._metrics)))

    async def Import(self, request: pb.ImportRequest, context: _Context) -> pb.PublishResponse:
        async with self._calls.answering("import", context):
            return await self._counted(self._import(request))

    async def Resolve(self, request: pb.ResolveRequest, context: _Context) -> pb.ResolveResponse:
        async with self._calls.answering("resolve", context):
            found = await self._store.resolve(
                request.tenant, request.owner, request.name, request.model, request.version
            )
        return resolve_response(found)

    async def Get(self, request: pb.GetRequest, context: _Context) -> pb.GetResponse:
        async with self._calls.answering("get", context):
            generation = await self._store.get(request.tenant, request.name, request.generation)
        return pb.GetResponse(adapter=adapter_message(generation))

    async def Fetch(self, request: pb.FetchRequest, context: _Context) -> AsyncIterator[pb.FetchChunk]:
        async with self._calls.answering("fetch", context):
            for file in await self._store.files(request.digest, request.file):
                yield pb.FetchChunk(begin=file_begin(file))
                async with aclosing(self._store.read(file)) as chunks:
                    async for data in chunks:
                        self._metrics.fetch_bytes.inc(len(data))
                        for begin in range(0, len(data), _PART_BYTES):
                            yield pb.FetchChunk(data=data[begin : begin + _PART_BYTES])

    async def Locate(self, request: pb.LocateRequest, context: _Context) -> pb.LocateResponse:
        async with self._calls.answering("locate", context):
            files = await self._store.files(request.digest)
        return pb.LocateResponse(files=map(file_begin, files))

    async def List(self, request: pb.ListRequest, context: _Context) -> pb.ListResponse:
        async with self._calls.answering("list", context):
            limit = min(request.page_size or _DEFAULT_PAGE, _MAX_PAGE)
            after = parse_page_token(request.page_token)
            found = await self._store.page(request.tenant, limit, after, usable=request.usable, deleted=request.deleted)
            answer = pb.ListResponse()
            size = 0
            for generation in found:
                message = adapter_message(generation)
                size += message.ByteSize()
                if answer.adapters and size > _MAX_PAGE_BYTES:
                    break
                answer.adapters.append(message)
            if found and (len(found) == limit or len(answer.adapters) < len(found)):
                answer.next_page_token = page_token(found[len(answer.adapters) - 1])
        return answer

    async def SetAlias(self, request: pb.SetAliasRequest, context: _Context) -> pb.SetAliasResponse:
        async with self._calls.answering("set_alias", context):
            names = request.tenant, request.name, request.alias
            if request.generation:
                target = Target(request.generation, request.canary, request.canary_percent)
                generation = await self._store.set_alias(*names, target)
            else:
                generation = await self._store.remove_alias(*names)
        return pb.SetAliasResponse(adapter=adapter_message(generation))

    async def RollbackAlias(self, request: pb.RollbackAliasRequest, context: _Context) -> pb.RollbackAliasResponse:
        async with self._calls.answering("rollback_alias", context):
            generation = await self._store.rollback_alias(request.tenant, request.name, request.alias)
        return pb.RollbackAliasResponse(adapter=adapter_message(generation))

    async def GetAlias(self, request: pb.GetAliasRequest, context: _Context) -> pb.GetAliasResponse:
        async with self._calls.answering("get_alias", context):
            changes = await self._store.alias_changes(request.tenant, request.name, request.alias)
        return pb.GetAliasResponse(changes=map(alias_change, changes))

    async def SetVisibility(self, request: pb.SetVisibilityRequest, context: _Context) -> pb.SetVisibilityResponse:
        async with self._calls.answering("set_visibility", context):
            generation = await self._store.set_visibility(request.tenant, request.name, parse_sharing(request))
        return pb.SetVisibilityResponse(adapter=adapter_message(generation))

    async def Retire(self, request: pb.RetireRequest, context: _Context) -> pb.RetireResponse:
        async with self._calls.answering("retire", context):
            retired = await self._store.retire(request.tenant, request.name, request.generation, request.reason)
        return pb.RetireResponse(adapter=adapter_message(retired))

    async def Restore(self, request: pb.RestoreRequest, context: _Context) -> pb.RestoreResponse:
        async with self._calls.answering("restore", context):
            quota = parse_quota(request.quota)
            restored = await self._store.restore(request.tenant, request.name, request.generation, quota)
        return pb.RestoreResponse(generations_restored=restored)

    async def History(self, request: pb.HistoryRequest, context: _Context) -> pb.HistoryResponse:
        async with self._calls.answering("history", context):
            transitions = await self._store.transitions(request.tenant, request.name)
        return pb.HistoryResponse(transitions=map(transition_message, transitions))

    async def Delete(self, request: pb.DeleteRequest, context: _Context) -> pb.DeleteResponse:
        async with self._calls.answering("delete", context):
            deleted = await self._store.delete(request.tenant, request.name, request.generation, request.reason)
        return pb.DeleteResponse(generations_deleted=deleted)

    async def _counted(self, upload: Awaitable[tuple[Generation, bool]]) -> pb.PublishResponse:
        try:
            generation, created = await upload
        except BaseException as error:
            self._metrics.uploads.labels(_upload_result(error)).inc()
            raise
        self._metrics.uploads.labels("created" if created else "unchanged").inc()
        return pb.PublishResponse(adapter=adapter_message(generation), created=created)

    async def _publish(self, upload: UploadStream) -> tuple[Generation, bool]:
        header = await upload.header()
        return await self._store.publish(
            header.tenant, header.name, header.model, upload.parts(), parse_quota(header.quota)
        )

    async def _import(self, request: pb.ImportRequest) -> tuple[Generation, bool]:
        header = request.header
        return await self._store.import_(
            header.tenant, header.name, header.model, request.source, parse_quota(header.quota)
        )


def _upload_result(error: BaseException) -> str:
    if isinstance(error, _REFUSALS):
        return "refused"
    if isinstance(error, Stalled) or not isinstance(error, Exception):
        return "cancelled"
    return "failed"
