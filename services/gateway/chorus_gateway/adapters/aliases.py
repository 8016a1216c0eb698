"""An adapter's aliases, as the store keeps them."""

from chorus_gateway.adapters import messages
from chorus_gateway.adapters.calls import StoreCalls
from chorus_gateway.adapters.values import Adapter, AliasChange, Target
from chorus_proto.adapters.v1 import adapters_pb2 as pb


class AliasClient:
    def __init__(self, calls: StoreCalls) -> None:
        self._calls = calls

    async def set(self, tenant: str, name: str, alias: str, target: Target) -> Adapter:
        """The target's generation."""
        return messages.adapter((await self._point(tenant, name, alias, target)).adapter)

    async def remove(self, tenant: str, name: str, alias: str) -> None:
        await self._point(tenant, name, alias, Target(0))

    async def rollback(self, tenant: str, name: str, alias: str) -> Adapter:
        """The generation that the alias points at again."""
        request = pb.RollbackAliasRequest(tenant=tenant, name=name, alias=alias)
        return messages.adapter((await self._calls.ask(self._calls.stub.RollbackAlias, request)).adapter)

    async def changes(self, tenant: str, name: str, alias: str) -> tuple[AliasChange, ...]:
        """Newest first; the first is what the alias points at now."""
        request = pb.GetAliasRequest(tenant=tenant, name=name, alias=alias)
        found = await self._calls.ask(self._calls.stub.GetAlias, request)
        return tuple(map(messages.change, found.changes))

    async def _point(self, tenant: str, name: str, alias: str, target: Target) -> pb.SetAliasResponse:
        request = pb.SetAliasRequest(
            tenant=tenant,
            name=name,
            alias=alias,
            generation=target.generation,
            canary=target.canary,
            canary_percent=target.percent,
        )
        return await self._calls.ask(self._calls.stub.SetAlias, request)
