"""The part of the adapter store's double that tells where adapters are: pins and engines."""

from typing import Any

import grpc

from chorus_proto.adapters.v1 import adapters_pb2 as pb
from tests.gateway.support.fake_calls import FakeCalls, missing


class FakeFleet(FakeCalls):
    def __init__(self) -> None:
        super().__init__()
        self.engines: list[pb.Engine] = []
        self.most_pins = 100
        self._pins: dict[tuple[str, str], pb.Pin] = {}

    async def SetPin(self, request: pb.SetPinRequest, context: Any) -> pb.SetPinResponse:
        await self._admit(context)
        names, version = (request.tenant, request.name), request.version or "latest"
        if not any(version in (str(each.generation), *each.aliases) for each in self._of(*names)):
            await missing(context)
        if len(self._pins | {names: None}) > self.most_pins:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"engines may pin {self.most_pins}")
        pin = pb.Pin(tenant=request.tenant, name=request.name, version=version, engines=request.engines)
        pin.tier = request.tier or pb.TIER_GPU
        self._pins[names] = pin
        return pb.SetPinResponse(pin=self._counted(pin))

    async def RemovePin(self, request: pb.RemovePinRequest, context: Any) -> pb.RemovePinResponse:
        await self._admit(context)
        if self._pins.pop((request.tenant, request.name), None) is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"adapter '{request.name}' is not pinned")
        return pb.RemovePinResponse()

    async def ListPins(self, request: pb.ListPinsRequest, context: Any) -> pb.ListPinsResponse:
        await self._admit(context)
        found = [pin for (tenant, _), pin in sorted(self._pins.items()) if request.tenant in ("", tenant)]
        return pb.ListPinsResponse(pins=map(self._counted, found))

    async def ListEngines(self, request: pb.ListEnginesRequest, context: Any) -> pb.ListEnginesResponse:
        await self._admit(context)
        found = [each for each in self.engines if not request.digest or _holds(each, request.digest)]
        return pb.ListEnginesResponse(engines=found)

    def _counted(self, pin: pb.Pin) -> pb.Pin:
        """With how many engines have it pinned in that tier by now."""
        pinned = {
            adapter.digest
            for adapter in self._of(pin.tenant, pin.name)
            if pin.version in (str(adapter.generation), *adapter.aliases)
        }
        pin.held = sum(
            any(each.pinned and each.tier == pin.tier and each.digest in pinned for each in engine.residents)
            for engine in self.engines
        )
        return pin


def _holds(engine: pb.Engine, digest: str) -> bool:
    return any(resident.digest == digest for resident in engine.residents)
