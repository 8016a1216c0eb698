"""Bodies of the admin API."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from chorus_gateway.adapters import Adapter, AliasChange, Target, Visibility
from chorus_gateway.tenants import StoredKeyInfo, TenantRecord
from chorus_gateway.values import Limits, Scope, Tenant

Name = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$",
        description="1 to 64 of a-z 0-9 . _ -, beginning with a letter or digit",
        examples=["acme"],
    ),
]
Count = Annotated[int, Field(ge=1, le=2_000_000_000)]


class Body(BaseModel):
    """What a client sends: what we do not know, and values of another type, are mistakes to be told of."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Listing(BaseModel):
    object: Literal["list"] = "list"


class LimitsBody(Body):
    """`null` is no limit."""

    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = Field(default=None, description="prompt and output tokens together")
    concurrent_requests: Count | None = None


class NewTenant(Body):
    id: Name
    weight: float = Field(default=1.0, gt=0, le=1000, description="share of capacity among tenants that wait")
    limits: LimitsBody = LimitsBody()

    def to_tenant(self) -> Tenant:
        return Tenant(id=self.id, weight=self.weight, limits=Limits(**self.limits.model_dump()))


class TenantChange(Body):
    """Only what is given changes; a limit given as `null` is lifted."""

    weight: float | None = Field(default=None, gt=0, le=1000)
    limits: LimitsBody = LimitsBody()

    def columns(self) -> dict[str, float | int | None]:
        changes: dict[str, float | int | None] = self.limits.model_dump(exclude_unset=True)
        return changes if self.weight is None else {**changes, "weight": self.weight}


class TenantView(BaseModel):
    id: str
    weight: float
    limits: LimitsBody
    created_at: int = Field(description="seconds since 1970")

    @classmethod
    def of(cls, record: TenantRecord) -> "TenantView":
        tenant, limits = record.tenant, record.tenant.limits
        shown = LimitsBody(
            requests_per_minute=limits.requests_per_minute,
            tokens_per_minute=limits.tokens_per_minute,
            concurrent_requests=limits.concurrent_requests,
        )
        return cls(id=tenant.id, weight=tenant.weight, limits=shown, created_at=int(record.created_at))


class TenantList(Listing):
    data: list[TenantView]


class NewKey(Body):
    scopes: list[Literal["infer", "adapters"]] = Field(
        ["infer"],
        min_length=1,
        description="`infer`: ask models; `adapters`: manage the tenant's own adapters",
    )
    expires_in: float | None = Field(default=None, gt=0, le=100 * 366 * 86400, description="seconds; null is never")
    name: str = Field(default="", max_length=128, description="for people to tell keys apart")


class KeyView(BaseModel):
    id: str
    tenant: str | None
    scopes: list[Scope]
    name: str
    created_at: int = Field(description="seconds since 1970")
    expires_at: int | None = Field(description="seconds since 1970; null is never")
    revoked_at: int | None = Field(description="seconds since 1970; null while the key is good")

    @classmethod
    def of(cls, info: StoredKeyInfo) -> "KeyView":
        return cls.model_validate(_key_fields(info))


class CreatedKey(KeyView):
    key: str = Field(description="the key itself; it is shown this once and cannot be had again")

    @classmethod
    def with_key(cls, info: StoredKeyInfo, key: str) -> "CreatedKey":
        return cls.model_validate({**_key_fields(info), "key": key})


class KeyList(Listing):
    data: list[KeyView]


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
        )


class AdapterList(Listing):
    data: list[AdapterView]


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


class Deleted(BaseModel):
    deleted: int = Field(description="generations that are gone")


def _key_fields(info: StoredKeyInfo) -> dict[str, object]:
    return {
        "id": info.id,
        "tenant": info.tenant_id,
        "scopes": sorted(info.scopes),
        "name": info.name,
        "created_at": int(info.created_at),
        "expires_at": None if info.expires_at is None else int(info.expires_at),
        "revoked_at": None if info.revoked_at is None else int(info.revoked_at),
    }
