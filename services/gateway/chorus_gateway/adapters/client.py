"""gRPC client of the adapter store."""

from collections.abc import AsyncIterator, Sequence

import grpc

from chorus_gateway.adapters import messages, transfer
from chorus_gateway.adapters.aliases import AliasClient
from chorus_gateway.adapters.calls import StoreCalls
from chorus_gateway.adapters.fleet import FleetClient
from chorus_gateway.adapters.values import (
    Adapter,
    Download,
    Page,
    Published,
    Resolution,
    Transition,
    UploadHeader,
    Visibility,
)
from chorus_gateway.values import Limits
from chorus_proto.adapters.v1 import adapters_pb2 as pb

PAGE_SIZE = 1000
IMPORT_SECONDS = 900.0  # the store reads a gigabyte from a bucket, and validates it
UNLIMITED = Limits()


class AdapterClient:
    """Every method raises the GatewayError that the store's status stands for, Unavailable when it does not answer."""

    def __init__(self, channel: grpc.aio.Channel, *, token: str, timeout: float = 5.0) -> None:
        """`timeout` in seconds, of every call but an upload, which lasts as long as its client sends, and an import."""
        self._calls = StoreCalls(channel, token, timeout)
        self._stub = self._calls.stub
        self.aliases = AliasClient(self._calls)
        self.fleet = FleetClient(self._calls)

    async def publish(
        self, header: UploadHeader, chunks: AsyncIterator[tuple[str, bytes]], limits: Limits = UNLIMITED
    ) -> Published:
        """Sends (file, data) pairs as they come and commits at their end. When `chunks` raises, or the caller is
        cancelled, the call is cancelled and the store keeps nothing. QuotaExceeded when the tenant would have more than
        `limits`."""
        call = self._stub.Publish(metadata=self._calls.metadata())
        return messages.published(await transfer.send(call, _header(header, limits), chunks))

    async def import_from(self, source: str, header: UploadHeader, limits: Limits = UNLIMITED) -> Published:
        """As publish, of two files below "s3://bucket/prefix"."""
        request = pb.ImportRequest(header=_header(header, limits), source=source)
        return messages.published(await self._calls.ask(self._stub.Import, request, IMPORT_SECONDS))

    async def resolve(self, tenant: str, *, owner: str, name: str, model: str, version: str) -> Resolution:
        """NotFound when there is none that `tenant` may use."""
        request = pb.ResolveRequest(tenant=tenant, owner=owner, name=name, model=model, version=version)
        found = await self._calls.ask(self._stub.Resolve, request)
        canary = messages.adapter(found.canary) if found.HasField("canary") else None
        return Resolution(messages.adapter(found.adapter), canary, found.canary_percent)

    async def list(self, tenant: str = "", *, usable: bool = False, deleted: bool = False) -> tuple[Adapter, ...]:
        """All of a tenant's generations, with `deleted` those too that can be restored, or all that it may use, newest
        first under each name; an empty tenant is everybody."""
        adapters: list[Adapter] = []
        token = ""
        while True:
            page = await self.page(tenant, usable=usable, deleted=deleted, token=token)
            adapters += page.adapters
            token = page.next
            if not token:
                return tuple(adapters)

    async def page(
        self, tenant: str, *, usable: bool = False, deleted: bool = False, token: str = "", size: int = PAGE_SIZE
    ) -> Page:
        """Of what `list` gives: at most `size`, from where the page ended that gave the token."""
        request = pb.ListRequest(tenant=tenant, page_size=size, page_token=token, usable=usable, deleted=deleted)
        found = await self._calls.ask(self._stub.List, request)
        return Page(tuple(map(messages.adapter, found.adapters)), found.next_page_token)

    async def get(self, tenant: str, name: str, generation: int) -> Adapter:
        """Whatever its state, until it is gone."""
        request = pb.GetRequest(tenant=tenant, name=name, generation=generation)
        return messages.adapter((await self._calls.ask(self._stub.Get, request)).adapter)

    async def download(self, digest: str, file: str) -> Download:
        """One of the digest's files. Its chunks raise as every method does; the last one is given only once the store
        has found all of the bytes to match their digest."""
        call = self._stub.Fetch(pb.FetchRequest(digest=digest, file=file), metadata=self._calls.metadata())
        return await transfer.receive(call, self._calls.timeout)

    async def set_visibility(
        self, tenant: str, name: str, visibility: Visibility, shared_with: Sequence[str]
    ) -> Adapter:
        """The newest generation."""
        request = pb.SetVisibilityRequest(
            tenant=tenant, name=name, visibility=messages.VISIBILITIES[visibility], shared_with=shared_with
        )
        return messages.adapter((await self._calls.ask(self._stub.SetVisibility, request)).adapter)

    async def retire(self, tenant: str, name: str, generation: int, reason: str = "") -> Adapter:
        request = pb.RetireRequest(tenant=tenant, name=name, generation=generation, reason=reason)
        return messages.adapter((await self._calls.ask(self._stub.Retire, request)).adapter)

    async def restore(self, tenant: str, name: str, generation: int, limits: Limits = UNLIMITED) -> int:
        """How many generations are back; generation 0 restores all deleted ones. QuotaExceeded when the tenant would
        have more than `limits`."""
        request = pb.RestoreRequest(tenant=tenant, name=name, generation=generation, quota=messages.quota(limits))
        return (await self._calls.ask(self._stub.Restore, request)).generations_restored

    async def history(self, tenant: str, name: str) -> tuple[Transition, ...]:
        """What became of the name's uploads and generations, newest first."""
        found = await self._calls.ask(self._stub.History, pb.HistoryRequest(tenant=tenant, name=name))
        return tuple(map(messages.transition, found.transitions))

    async def delete(self, tenant: str, name: str, generation: int, reason: str = "") -> int:
        """How many generations went; generation 0 deletes all of the name."""
        request = pb.DeleteRequest(tenant=tenant, name=name, generation=generation, reason=reason)
        return (await self._calls.ask(self._stub.Delete, request)).generations_deleted


def _header(header: UploadHeader, limits: Limits) -> pb.PublishHeader:
    return pb.PublishHeader(tenant=header.tenant, name=header.name, model=header.model, quota=messages.quota(limits))
