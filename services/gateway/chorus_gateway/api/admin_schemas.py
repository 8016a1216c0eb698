"""Bodies of the admin API."""

from dataclasses import asdict
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

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
    adapters: Count | None = None
    adapter_bytes: int | None = Field(
        default=None, ge=1, le=2**53, description="of all adapters, deleted ones too until their grace period ends"
    )
    adapter_rank: Count | None = Field(default=None, description="the largest of an adapter")


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
        tenant = record.tenant
        shown = LimitsBody(**asdict(tenant.limits))
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
