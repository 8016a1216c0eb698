"""Bodies of the admin API that tell where adapters are."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from chorus_gateway.adapters import Adapter, Engine, Pin, Resident, Tier, UploadHeader
from chorus_gateway.api.admin_schemas import Name
from chorus_gateway.api.schemas_limits import Body, Listing
from chorus_gateway.routing.interventions import Intervention

EngineState = Literal["ready", "draining", "stalled"]
ResidentState = Literal["loading", "ready", "draining"]


class ImportBody(Body):
    tenant: Name
    name: Name
    model: str = Field(min_length=1, max_length=256, description="the base model that it was trained on")
    source: str = Field(
        min_length=1,
        max_length=1024,
        description="`s3://bucket/prefix`, of a bucket that the store may read, with `adapter_config.json` and "
        "`adapter_model.safetensors` below it",
        examples=["s3://adapters/acme/sql"],
    )

    def to_header(self) -> UploadHeader:
        return UploadHeader(self.tenant, self.name, self.model)


class PinBody(Body):
    version: str = Field("latest", min_length=1, max_length=64, description="a generation's number or an alias")
    tier: Annotated[Tier, Field(strict=False)] = Field(Tier.GPU, description="`gpu`: a slot; `host`: host memory")
    engines: int = Field(0, ge=0, le=1000, description="on how many engines of its base; 0 is all")


class PinView(BaseModel):
    tenant: str
    name: str
    version: str = Field(description="the pin moves with an alias")
    tier: Tier
    engines: int = Field(description="on how many engines it is wanted; 0 is all")
    held: int = Field(description="engines that have it pinned by now")

    @classmethod
    def of(cls, pin: Pin) -> "PinView":
        return cls(
            tenant=pin.tenant, name=pin.name, version=pin.version, tier=pin.tier, engines=pin.engines, held=pin.held
        )


class PinList(Listing):
    data: list[PinView]


class HeldCounts(BaseModel):
    gpu: int = Field(description="adapters in slots")
    host: int = Field(description="adapters in host memory")
    loading: int = Field(description="of these, on their way")
    pinned: int
    leases: int = Field(description="requests that hold one")

    @classmethod
    def of(cls, residents: tuple[Resident, ...]) -> "HeldCounts":
        return cls(
            gpu=sum(each.tier is Tier.GPU for each in residents),
            host=sum(each.tier is Tier.HOST for each in residents),
            loading=sum(each.state == "loading" for each in residents),
            pinned=sum(each.pinned for each in residents),
            leases=sum(each.leases for each in residents),
        )


class EngineView(BaseModel):
    id: str
    address: str
    model: str = Field(description="the base model")
    state: EngineState = Field(description="`stalled`: its heart beats and its steps do not")
    drained: bool = Field(description="it drains by an administrator's order")
    ejected_by: int = Field(description="gateway processes that send it no requests but one at a time, as it failed")
    started_at: int = Field(description="seconds since 1970")
    slots: int
    slots_free: int = Field(description="those too whose adapter nobody uses")
    host_bytes: int = Field(description="host memory for adapters")
    host_bytes_free: int = Field(description="that too whose adapters may go")
    adapters: HeldCounts

    @classmethod
    def of(cls, engine: Engine, intervention: Intervention) -> "EngineView":
        return cls(
            id=engine.engine_id,
            address=engine.address,
            model=engine.model,
            state="draining" if intervention.drained else state_of(engine),
            drained=intervention.drained,
            ejected_by=intervention.ejected_by,
            started_at=int(engine.started_at),
            slots=engine.slots,
            slots_free=engine.free_slots,
            host_bytes=engine.host_bytes,
            host_bytes_free=engine.host_bytes_free,
            adapters=HeldCounts.of(engine.residents),
        )


class EngineList(Listing):
    data: list[EngineView]


class ResidentView(BaseModel):
    engine: str = Field(description="its id")
    address: str
    engine_state: EngineState
    tier: Tier
    state: ResidentState
    leases: int = Field(description="requests that hold it")
    pinned: bool
    last_use: int = Field(description="seconds since 1970")

    @classmethod
    def of(cls, engine: Engine, resident: Resident) -> "ResidentView":
        return cls.model_validate(
            {
                "engine": engine.engine_id,
                "address": engine.address,
                "engine_state": state_of(engine),
                "tier": resident.tier,
                "state": resident.state,
                "leases": resident.leases,
                "pinned": resident.pinned,
                "last_use": int(resident.last_use),
            }
        )


class Residency(Listing):
    generation: int
    digest: str
    data: list[ResidentView] = Field(description="one for each engine and tier that holds it")

    @classmethod
    def of(cls, adapter: Adapter, engines: tuple[Engine, ...]) -> "Residency":
        found = [
            ResidentView.of(engine, resident)
            for engine in engines
            for resident in engine.residents
            if resident.digest == adapter.digest
        ]
        return cls(generation=adapter.generation, digest=adapter.digest, data=found)


def state_of(engine: Engine) -> EngineState:
    if engine.draining:
        return "draining"
    return "stalled" if engine.stalled else "ready"
