"""gRPC client of the adapter store."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import grpc

from chorus_gateway.adapters.errors import from_status
from chorus_gateway.adapters.statuses import StatusWatch
from chorus_gateway.adapters.values import (
    Adapter,
    AliasChange,
    Download,
    Published,
    Resolution,
    State,
    Target,
    Transition,
    UploadHeader,
    Visibility,
)
from chorus_gateway.errors import InvalidRequest
from chorus_gateway.telemetry import current_traceparent
from chorus_gateway.values import Limits
from chorus_proto.adapters.v1 import adapters_pb2 as pb
from chorus_proto.adapters.v1.adapters_pb2_grpc import AdapterStoreStub

if TYPE_CHECKING:
    from chorus_proto.adapters.v1.adapters_pb2_grpc import AdapterStoreAsyncStub

CHUNK_BYTES = 1 << 20  # the store's limit for one message's data
PAGE_SIZE = 1000
UNLIMITED = Limits()

T = TypeVar("T")
Fetch: TypeAlias = "grpc.aio.UnaryStreamCall[pb.FetchRequest, pb.FetchChunk]"
Upload: TypeAlias = "grpc.aio.StreamUnaryCall[pb.PublishRequest, pb.PublishResponse]"


STATES: dict[int, State] = {
    pb.STATE_UPLOADED: State.UPLOADED,
    pb.STATE_VALIDATED: State.VALIDATED,
    pb.STATE_PUBLISHED: State.PUBLISHED,
    pb.STATE_RETIRED: State.RETIRED,
    pb.STATE_DELETED: State.DELETED,
    pb.STATE_GONE: State.GONE,
    pb.STATE_REFUSED: State.REFUSED,
}
VISIBILITIES: dict[Visibility, pb.Visibility] = {
    Visibility.PRIVATE: pb.VISIBILITY_PRIVATE,
    Visibility.SHARED: pb.VISIBILITY_SHARED,
    Visibility.PUBLIC: pb.VISIBILITY_PUBLIC,
}


class AdapterClient:
    """Every method raises the GatewayError that the store's status stands for, Unavailable when it does not answer."""

    def __init__(self, channel: grpc.aio.Channel, *, token: str, timeout: float = 5.0) -> None:
        """`timeout` in seconds, of every call but an upload, which lasts as long as its client sends."""
        self._stub: AdapterStoreAsyncStub = AdapterStoreStub(channel)  # type: ignore[assignment]  # one class at run time
        self._authorization = f"Bearer {token}"
        self._timeout = timeout

    async def publish(
        self, header: UploadHeader, chunks: AsyncIterator[tuple[str, bytes]], limits: Limits = UNLIMITED
    ) -> Published:
        """Sends (file, data) pairs as they come and commits at their end. When `chunks` raises, or the caller is
        cancelled, the call is cancelled and the store keeps nothing. QuotaExceeded when the tenant would have more than
        `limits`."""
        call = self._stub.Publish(metadata=self._metadata())
        statuses = StatusWatch(call)
        try:
            response = await _send(call, _header(header, limits), chunks)
        except grpc.aio.AioRpcError as error:
            code, details = await statuses.final()
            if code is grpc.StatusCode.DEADLINE_EXCEEDED:  # the store's: chunks stopped coming
                raise InvalidRequest(details or "The upload stalled; send it again.") from error
            raise from_status(code, details) from error
        finally:
            call.cancel()  # has no effect on a call that has ended
        return Published(adapter=_adapter(response.adapter), created=response.created)

    async def resolve(self, tenant: str, *, owner: str, name: str, model: str, version: str) -> Resolution:
        """NotFound when there is none that `tenant` may use."""
        request = pb.ResolveRequest(tenant=tenant, owner=owner, name=name, model=model, version=version)
        call = self._stub.Resolve(request, metadata=self._metadata(), timeout=self._timeout)
        found = await _answer(call)
        canary = _adapter(found.canary) if found.HasField("canary") else None
        return Resolution(_adapter(found.adapter), canary, found.canary_percent)

    async def list(self, tenant: str = "", *, usable: bool = False, deleted: bool = False) -> tuple[Adapter, ...]:
        """All of a tenant's generations, with `deleted` those too that can be restored, or all that it may use, newest
        first under each name; an empty tenant is everybody."""
        adapters: list[Adapter] = []
        token = ""
        while True:
            request = pb.ListRequest(
                tenant=tenant, page_size=PAGE_SIZE, page_token=token, usable=usable, deleted=deleted
            )
            page = await _answer(self._stub.List(request, metadata=self._metadata(), timeout=self._timeout))
            adapters += map(_adapter, page.adapters)
            token = page.next_page_token
            if not token:
                return tuple(adapters)

    async def get(self, tenant: str, name: str, generation: int) -> Adapter:
        """Whatever its state, until it is gone."""
        request = pb.GetRequest(tenant=tenant, name=name, generation=generation)
        call = self._stub.Get(request, metadata=self._metadata(), timeout=self._timeout)
        return _adapter((await _answer(call)).adapter)

    async def download(self, digest: str, file: str) -> Download:
        """One of the digest's files. Its chunks raise as every method does; the last one is given only once the store
        has found all of the bytes to match their digest."""
        call = self._stub.Fetch(pb.FetchRequest(digest=digest, file=file), metadata=self._metadata())
        try:
            async with asyncio.timeout(self._timeout):
                first = await _read(call)
        except TimeoutError as error:
            call.cancel()
            raise from_status(grpc.StatusCode.DEADLINE_EXCEEDED, None) from error
        if first is None:
            raise from_status(grpc.StatusCode.INTERNAL, "Fetch sent nothing")
        return Download(first.begin.size, first.begin.sha256, _chunks(call))

    async def set_alias(self, tenant: str, name: str, alias: str, target: Target) -> Adapter:
        """The target's generation."""
        return _adapter((await self._point(tenant, name, alias, target)).adapter)

    async def remove_alias(self, tenant: str, name: str, alias: str) -> None:
        await self._point(tenant, name, alias, Target(0))

    async def rollback_alias(self, tenant: str, name: str, alias: str) -> Adapter:
        """The generation that the alias points at again."""
        request = pb.RollbackAliasRequest(tenant=tenant, name=name, alias=alias)
        call = self._stub.RollbackAlias(request, metadata=self._metadata(), timeout=self._timeout)
        return _adapter((await _answer(call)).adapter)

    async def alias_changes(self, tenant: str, name: str, alias: str) -> tuple[AliasChange, ...]:
        """Newest first; the first is what the alias points at now."""
        request = pb.GetAliasRequest(tenant=tenant, name=name, alias=alias)
        found = await _answer(self._stub.GetAlias(request, metadata=self._metadata(), timeout=self._timeout))
        return tuple(map(_change, found.changes))

    async def set_visibility(
        self, tenant: str, name: str, visibility: Visibility, shared_with: Sequence[str]
    ) -> Adapter:
        """The newest generation."""
        request = pb.SetVisibilityRequest(
            tenant=tenant, name=name, visibility=VISIBILITIES[visibility], shared_with=shared_with
        )
        call = self._stub.SetVisibility(request, metadata=self._metadata(), timeout=self._timeout)
        return _adapter((await _answer(call)).adapter)

    async def retire(self, tenant: str, name: str, generation: int, reason: str = "") -> Adapter:
        request = pb.RetireRequest(tenant=tenant, name=name, generation=generation, reason=reason)
        call = self._stub.Retire(request, metadata=self._metadata(), timeout=self._timeout)
        return _adapter((await _answer(call)).adapter)

    async def restore(self, tenant: str, name: str, generation: int, limits: Limits = UNLIMITED) -> int:
        """How many generations are back; generation 0 restores all deleted ones. QuotaExceeded when the tenant would
        have more than `limits`."""
        request = pb.RestoreRequest(tenant=tenant, name=name, generation=generation, quota=_quota(limits))
        call = self._stub.Restore(request, metadata=self._metadata(), timeout=self._timeout)
        return (await _answer(call)).generations_restored

    async def history(self, tenant: str, name: str) -> tuple[Transition, ...]:
        """What became of the name's uploads and generations, newest first."""
        request = pb.HistoryRequest(tenant=tenant, name=name)
        found = await _answer(self._stub.History(request, metadata=self._metadata(), timeout=self._timeout))
        return tuple(
            Transition(each.generation, STATES[each.state], each.reason, each.at) for each in found.transitions
        )

    async def delete(self, tenant: str, name: str, generation: int, reason: str = "") -> int:
        """How many generations went; generation 0 deletes all of the name."""
        request = pb.DeleteRequest(tenant=tenant, name=name, generation=generation, reason=reason)
        call = self._stub.Delete(request, metadata=self._metadata(), timeout=self._timeout)
        return (await _answer(call)).generations_deleted

    async def _point(self, tenant: str, name: str, alias: str, target: Target) -> pb.SetAliasResponse:
        request = pb.SetAliasRequest(
            tenant=tenant,
            name=name,
            alias=alias,
            generation=target.generation,
            canary=target.canary,
            canary_percent=target.percent,
        )
        return await _answer(self._stub.SetAlias(request, metadata=self._metadata(), timeout=self._timeout))

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        metadata = (("authorization", self._authorization),)
        traceparent = current_traceparent()
        return (*metadata, ("traceparent", traceparent)) if traceparent else metadata


async def _send(call: Upload, header: pb.PublishHeader, chunks: AsyncIterator[tuple[str, bytes]]) -> pb.PublishResponse:
    try:
        await call.write(pb.PublishRequest(header=header))
        async for file, data in chunks:
            for begin in range(0, len(data), CHUNK_BYTES):
                part = pb.FileChunk(file=file, data=data[begin : begin + CHUNK_BYTES])
                await call.write(pb.PublishRequest(chunk=part))
        await call.write(pb.PublishRequest(commit=pb.Commit()))
        await call.done_writing()
    except asyncio.InvalidStateError:
        pass  # the store has answered before the end; its answer says why
    return await call


def _header(header: UploadHeader, limits: Limits) -> pb.PublishHeader:
    return pb.PublishHeader(tenant=header.tenant, name=header.name, model=header.model, quota=_quota(limits))


def _quota(limits: Limits) -> pb.Quota:
    return pb.Quota(adapters=limits.adapters or 0, bytes=limits.adapter_bytes or 0, rank=limits.adapter_rank or 0)


async def _read(call: Fetch) -> pb.FetchChunk | None:
    """None at the end."""
    message: Any = await _answer(call.read())
    return None if message is grpc.aio.EOF else message


async def _chunks(call: Fetch) -> AsyncGenerator[bytes]:
    held = b""
    try:
        while (message := await _read(call)) is not None:
            if held:
                yield held
            held = message.data
        yield held
    finally:
        call.cancel()  # has no effect on a call that has ended


async def _answer(call: Awaitable[T]) -> T:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise from_status(error.code(), error.details()) from error


def _adapter(message: pb.Adapter) -> Adapter:
    visibilities = {number: visibility for visibility, number in VISIBILITIES.items()}
    return Adapter(
        tenant=message.tenant,
        name=message.name,
        model=message.model,
        generation=message.generation,
        digest=message.digest,
        rank=message.rank,
        modules=tuple(message.modules),
        size=message.size,
        aliases=tuple(message.aliases),
        created_at=message.created_at,
        visibility=visibilities.get(message.visibility, Visibility.PRIVATE),
        shared_with=tuple(message.shared_with),
        state=STATES.get(message.state, State.PUBLISHED),
        reason=message.reason,
        canary_of=dict(message.canary_of),
    )


def _change(message: pb.AliasChange) -> AliasChange:
    target = Target(message.generation, message.canary, message.canary_percent) if message.generation else None
    return AliasChange(target, message.changed_at)
