"""Bodies of the admin API that tell of adapters."""

from typing import Annotated

from pydantic import BaseModel, Field

from chorus_gateway.adapters import Adapter, AliasChange, State, Target, Transition, Visibility
from chorus_gateway.api.admin_schemas import Name
from chorus_gateway.api.schemas_limits import Body, Listing


class AdapterView(BaseModel):
    tenant: str
    name: str
    model: str = Field(description="the base model")
    generation: int
    digest: str = Field(description="SHA-256 that names the bytes")
    rank: int = Field(description="largest rank of any module")
    modules: list[str] = Field(description="modules of the base that carry weights")
    bytes: int
    aliases: list[str]
    created_at: int = Field(description="seconds since 1970")
    visibility: Visibility
    shared_with: list[str] = Field(description="tenants, where the visibility is `shared`")
    canary_of: dict[str, int] = Field(description="aliases that send it a share of their requests, in percent")
    state: State = Field(description="`published`, `retired` or `deleted`")
    reason: str = Field(description="why it is retired or deleted")

    @classmethod
    def of(cls, adapter: Adapter) -> "AdapterView":
        return cls(
            tenant=adapter.tenant,
            name=adapter.name,
            model=adapter.model,
            generation=adapter.generation,
            digest=adapter.digest,
            rank=adapter.rank,
            modules=list(adapter.modules),
            bytes=adapter.size,
            aliases=list(adapter.aliases),
            created_at=int(adapter.created_at),
            visibility=adapter.visibility,
            shared_with=list(adapter.shared_with),
            canary_of=dict(adapter.canary_of),
            state=adapter.state,
            reason=adapter.reason,
        )


class AdapterList(Listing):
    data: list[AdapterView]
    next_page: str | None = Field(description="give it as `page` for what follows; null at the end")


Generation = Annotated[int, Field(ge=1, le=2**32 - 1)]


class Canary(Body):
    generation: Generation
    percent: int = Field(ge=1, le=99, description="its share of the alias's requests")


class AliasTarget(Body):
    generation: Generation
    canary: Canary | None = Field(None, description="a second generation, for a share of the requests")

    def to_target(self) -> Target:
        if self.canary is None:
            return Target(self.generation)
        return Target(self.generation, self.canary.generation, self.canary.percent)


class AliasChangeView(BaseModel):
    generation: int | None = Field(description="null: the alias was removed")
    canary: Canary | None
    changed_at: int = Field(description="seconds since 1970")

    @classmethod
    def of(cls, change: AliasChange) -> "AliasChangeView":
        target = change.target or Target(0)
        canary = Canary(generation=target.canary, percent=target.percent) if target.canary else None
        return cls(generation=target.generation or None, canary=canary, changed_at=int(change.changed_at))


class AliasHistory(Listing):
    data: list[AliasChangeView] = Field(description="newest first; the first is what the alias points at")


class VisibilityBody(Body):
    visibility: Annotated[Visibility, Field(strict=False)]
    shared_with: list[Name] = Field(
        [], max_length=1000, description="tenants; with `shared` alone, and then at least one"
    )


Reason = Annotated[str, Field(max_length=500)]


class Retirement(Body):
    reason: Reason = ""


class Restored(BaseModel):
    restored: int = Field(description="generations that are back")


class TransitionView(BaseModel):
    generation: int | None = Field(description="null: an upload that was refused")
    state: State
    reason: str
    at: int = Field(description="seconds since 1970")

    @classmethod
    def of(cls, transition: Transition) -> "TransitionView":
        return cls(
            generation=transition.generation or None,
            state=transition.state,
            reason=transition.reason,
            at=int(transition.at),
        )


class History(Listing):
    data: list[TransitionView] = Field(description="newest first")


class Deleted(BaseModel):
    deleted: int = Field(description="generations that are deleted")
