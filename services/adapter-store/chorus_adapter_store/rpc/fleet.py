"""The part of adapters.proto that is about engines: pins, and what engines hold."""

from typing import Any, TypeAlias

import grpc

from chorus_adapter_store.errors import InvalidArgument
from chorus_adapter_store.placement.fleet import Engine, Held
from chorus_adapter_store.placement.pinning import Pinning
from chorus_adapter_store.rpc.status import Calls
from chorus_adapter_store.values import PinStatus, Tier
from chorus_proto.adapters.v1 import adapters_pb2 as pb
from chorus_proto.adapters.v1 import adapters_pb2_grpc

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_TIERS = {Tier.HOST: pb.TIER_HOST, Tier.GPU: pb.TIER_GPU}


class FleetServicer(adapters_pb2_grpc.AdapterStoreServicer):
    def __init__(self, pinning: Pinning, calls: Calls) -> None:
        self._pinning = pinning
        self._calls = calls

    async def SetPin(self, request: pb.SetPinRequest, context: _Context) -> pb.SetPinResponse:
        async with self._calls.answering("set_pin", context):
            tier = _parse_tier(request.tier)
            pin = await self._pinning.set(request.tenant, request.name, request.version, tier, request.engines)
        return pb.SetPinResponse(pin=_pin_message(pin))

    async def RemovePin(self, request: pb.RemovePinRequest, context: _Context) -> pb.RemovePinResponse:
        async with self._calls.answering("remove_pin", context):
            await self._pinning.remove(request.tenant, request.name)
        return pb.RemovePinResponse()

    async def ListPins(self, request: pb.ListPinsRequest, context: _Context) -> pb.ListPinsResponse:
        async with self._calls.answering("list_pins", context):
            pins = await self._pinning.all(request.tenant)
        return pb.ListPinsResponse(pins=map(_pin_message, pins))

    async def ListEngines(self, request: pb.ListEnginesRequest, context: _Context) -> pb.ListEnginesResponse:
        async with self._calls.answering("list_engines", context):
            engines = await self._pinning.engines(request.digest)
        return pb.ListEnginesResponse(engines=map(_engine_message, engines))


def _parse_tier(number: int) -> Tier:
    """Raises InvalidArgument."""
    for tier, known in ((Tier.GPU, pb.TIER_UNSPECIFIED), (Tier.GPU, pb.TIER_GPU), (Tier.HOST, pb.TIER_HOST)):
        if number == known:
            return tier
    raise InvalidArgument("tier", f"{number} is neither host memory (1) nor slots (2)")


def _pin_message(status: PinStatus) -> pb.Pin:
    pin = status.pin
    return pb.Pin(
        tenant=pin.adapter.tenant,
        name=pin.adapter.name,
        version=pin.version,
        tier=_TIERS[pin.tier],
        engines=pin.engines,
        held=status.held,
    )


def _engine_message(engine: Engine) -> pb.Engine:
    return pb.Engine(
        engine_id=engine.engine_id,
        address=engine.address,
        model=engine.model,
        draining=engine.draining,
        stalled=engine.stalled,
        started_at=engine.started_at,
        slots=engine.slots,
        free_slots=engine.slots_free,
        host_bytes=engine.host_bytes,
        host_bytes_free=engine.host_bytes_free,
        residents=map(_resident_message, engine.held.values()),
    )


def _resident_message(held: Held) -> pb.Resident:
    return pb.Resident(
        digest=held.digest,
        tier=_TIERS[held.tier],
        state=held.state,
        leases=held.leases,
        pinned=held.pinned is not None,
        last_use=held.last_use,
    )
