"""Bodies of the admin API that tell what goes on."""

from pydantic import BaseModel, Field

from chorus_gateway.live.board import Live
from chorus_gateway.live.engines import EngineActivity, State
from chorus_gateway.live.snapshot import Activity


class ActivityView(BaseModel):
    running: int = Field(description="answers that an engine works on")
    waiting: int = Field(description="answers that wait for one")
    tokens_per_second: float = Field(description="generated, over the last five seconds")

    @classmethod
    def of(cls, activity: Activity) -> "ActivityView":
        return cls(
            running=activity.running,
            waiting=activity.waiting,
            tokens_per_second=round(activity.tokens_per_second, 1),
        )


class TenantActivityView(ActivityView):
    tenant: str


class EngineActivityView(BaseModel):
    id: str
    address: str
    model: str = Field(description="the base model")
    state: State = Field(description="`ejected`: it fails, and the answering worker sends it nothing but trials")
    running: int = Field(description="answers in its batch, of all gateways")
    waiting: int = Field(description="answers that wait there")
    kv_blocks: int = Field(description="blocks of its KV cache")
    kv_blocks_free: int = Field(description="those too that only keep a prefix")
    slots: int = Field(description="adapter slots")
    slots_free: int = Field(description="those too whose adapter nobody uses")

    @classmethod
    def of(cls, engine: EngineActivity) -> "EngineActivityView":
        return cls(
            id=engine.id,
            address=engine.address,
            model=engine.model,
            state=engine.state,
            running=engine.running,
            waiting=engine.waiting,
            kv_blocks=engine.kv_blocks,
            kv_blocks_free=engine.kv_blocks_free,
            slots=engine.slots,
            slots_free=engine.slots_free,
        )


class LiveView(BaseModel):
    workers: int = Field(description="gateway workers that are counted")
    complete: bool = Field(description="false: Redis is away, and only the answering worker's requests are counted")
    total: ActivityView
    tenants: list[TenantActivityView] = Field(description="those with anything to tell, busiest first")
    others: ActivityView = Field(description="tenants that are not named")
    engines: list[EngineActivityView] = Field(description="as the answering worker's streams tell")

    @classmethod
    def of(cls, live: Live, most: int) -> "LiveView":
        activity = live.activity.busiest(most)
        tenants = [
            TenantActivityView(tenant=tenant, **ActivityView.of(each).model_dump())
            for tenant, each in activity.tenants.items()
        ]
        return cls(
            workers=live.workers,
            complete=live.complete,
            total=ActivityView.of(activity.total),
            tenants=tenants,
            others=ActivityView.of(activity.others),
            engines=[EngineActivityView.of(engine) for engine in live.engines],
        )
