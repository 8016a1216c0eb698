"""Bodies of the admin API that are about tenants."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from chorus_gateway.api.schemas_limits import Body, Listing, TenantLimitsBody, UseLimitsBody
from chorus_gateway.tenants import AdapterLimitsRecord, TenantRecord
from chorus_gateway.tenants.columns import bands_text
from chorus_gateway.values import Band, Tenant

Name = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$",
        description="1 to 64 of a-z 0-9 . _ -, beginning with a letter or digit",
        examples=["acme"],
    ),
]
Tier = Literal["priority", "default", "flex"]
Tiers = Annotated[
    list[Tier], Field(min_length=1, max_length=3, description="the `service_tier`s that its requests may ask for")
]
DefaultMaxTokens = Annotated[
    int | None,
    Field(ge=1, le=2_000_000_000, description="of a request that names no maximum; null is the gateway's default"),
]
EVERY_TIER: list[Tier] = ["priority", "default", "flex"]


class NewTenant(Body):
    id: Name
    weight: float = Field(default=1.0, gt=0, le=1000, description="share of capacity among tenants that wait")
    limits: TenantLimitsBody = TenantLimitsBody()
    tiers: Tiers = EVERY_TIER
    default_max_tokens: DefaultMaxTokens = None
    suspended: bool = Field(default=False, description="whether its keys are refused, by 403")

    def to_tenant(self) -> Tenant:
        return Tenant(
            id=self.id,
            limits=self.limits.to_limits(),
            weight=self.weight,
            bands=_bands(self.tiers),
            default_max_tokens=self.default_max_tokens,
            suspended=self.suspended,
        )


class TenantChange(Body):
    """Only what is given changes; a limit given as `null` is lifted."""

    weight: float | None = Field(default=None, gt=0, le=1000)
    limits: TenantLimitsBody = TenantLimitsBody()
    tiers: Tiers | None = None
    default_max_tokens: DefaultMaxTokens = None
    suspended: bool | None = None

    def columns(self) -> dict[str, Any]:
        changes = self.limits.changes()
        given = self.model_dump(include={"weight", "suspended"}, exclude_none=True)
        if self.tiers is not None:
            given["bands"] = bands_text(_bands(self.tiers))
        if "default_max_tokens" in self.model_fields_set:
            given["default_max_tokens"] = self.default_max_tokens
        return changes | given


def _bands(tiers: list[Tier]) -> frozenset[Band]:
    return frozenset(Band[tier.upper()] for tier in tiers)


class TenantView(BaseModel):
    id: str
    weight: float
    limits: TenantLimitsBody
    tiers: list[Tier]
    default_max_tokens: int | None
    suspended: bool
    created_at: int = Field(description="seconds since 1970")

    @classmethod
    def of(cls, record: TenantRecord) -> "TenantView":
        tenant = record.tenant
        fields = {
            "id": tenant.id,
            "weight": tenant.weight,
            "limits": TenantLimitsBody.shown(tenant.limits),
            "tiers": bands_text(tenant.bands).split(","),
            "default_max_tokens": tenant.default_max_tokens,
            "suspended": tenant.suspended,
            "created_at": int(record.created_at),
        }
        return cls.model_validate(fields)


class TenantList(Listing):
    data: list[TenantView]


class AdapterLimitsView(BaseModel):
    adapter: str = Field(description="owner/name")
    limits: UseLimitsBody

    @classmethod
    def of(cls, record: AdapterLimitsRecord) -> "AdapterLimitsView":
        limits = UseLimitsBody.shown(record.limits)
        return cls.model_validate({"adapter": f"{record.owner}/{record.name}", "limits": limits})


class AdapterLimitsList(Listing):
    data: list[AdapterLimitsView]
