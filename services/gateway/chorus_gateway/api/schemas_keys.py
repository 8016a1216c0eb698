"""Bodies of the admin API that are about keys."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field

from chorus_gateway.api.schemas_limits import Body, Listing, Printable, UseLimitsBody
from chorus_gateway.auth import parse_network
from chorus_gateway.models.allowed import parse_allowed
from chorus_gateway.tenants import StoredKeyInfo
from chorus_gateway.values import Scope

LIFETIME = 100 * 366 * 86400
MAX_OVERLAP = 90 * 86400


def _network(text: str) -> str:
    try:
        return str(parse_network(text))
    except ValueError:
        raise ValueError("it must be a network such as '10.0.0.0/8' or '2001:db8::/32', or one address") from None


KeyName = Annotated[Printable, Field(max_length=128, description="for people to tell keys apart")]
Models = Annotated[
    list[Annotated[str, AfterValidator(parse_allowed)]],
    Field(
        min_length=1,
        max_length=1000,
        description="models that it may use: a base's name, `base@adapter`, `base@owner/adapter` or `base@*`; null is "
        "all. Others are to it as if they did not exist",
    ),
]
Networks = Annotated[
    list[Annotated[str, Field(max_length=64), AfterValidator(_network)]],
    Field(min_length=1, max_length=100, description="in CIDR form, that it may be used from; null is any"),
]
ExpiresIn = Annotated[float | None, Field(gt=0, le=LIFETIME, description="seconds; null is never")]


class NewKey(Body):
    scopes: list[Literal["infer", "adapters"]] = Field(
        ["infer"],
        min_length=1,
        description="`infer`: ask models; `adapters`: manage the tenant's own adapters",
    )
    expires_in: ExpiresIn = None
    name: KeyName = ""
    limits: UseLimitsBody = Field(default=UseLimitsBody(), description="the key's own, beside its tenant's")
    models: Models | None = None
    networks: Networks | None = None


class NewAdminKey(Body):
    scopes: list[Literal["admin"]] = Field(["admin"], min_length=1)
    expires_in: ExpiresIn = None
    name: KeyName = ""
    networks: Networks | None = None


class KeyChange(Body):
    """Only what is given changes; `null` lifts a limit, or a list."""

    name: KeyName | None = None
    limits: UseLimitsBody = UseLimitsBody()
    models: Models | None = None
    networks: Networks | None = None

    def columns(self) -> dict[str, Any]:
        changes = self.limits.changes()
        if self.name is not None:
            changes["name"] = self.name
        for field in ("models", "networks"):
            if field in self.model_fields_set:
                values = getattr(self, field)
                changes[field] = None if values is None else tuple(values)
        return changes


class Rotation(Body):
    overlap: float = Field(
        default=0.0, ge=0, le=MAX_OVERLAP, description="for how many seconds the old key stays good beside the new one"
    )


class KeyView(BaseModel):
    id: str
    tenant: str | None
    scopes: list[Scope]
    name: str
    limits: UseLimitsBody
    models: list[str] | None
    networks: list[str] | None
    created_at: int = Field(description="seconds since 1970")
    expires_at: int | None = Field(description="seconds since 1970; null is never")
    revoked_at: int | None = Field(description="seconds since 1970; null while the key is good")
    last_used_at: int | None = Field(description="seconds since 1970, some seconds late; null is never")
    replaced_by: str | None = Field(description="the id of the key that rotation made of it")

    @classmethod
    def of(cls, info: StoredKeyInfo) -> "KeyView":
        return cls.model_validate(_fields(info))


class CreatedKey(KeyView):
    key: str = Field(description="the key itself; it is shown this once and cannot be had again")

    @classmethod
    def with_key(cls, info: StoredKeyInfo, key: str) -> "CreatedKey":
        return cls.model_validate({**_fields(info), "key": key})


class KeyList(Listing):
    data: list[KeyView]


def _fields(info: StoredKeyInfo) -> dict[str, Any]:
    terms = info.terms
    return {
        "id": info.id,
        "tenant": info.tenant_id,
        "scopes": sorted(terms.scopes),
        "name": terms.name,
        "limits": UseLimitsBody.shown(terms.limits),
        "models": terms.models,
        "networks": terms.networks,
        "created_at": int(info.created_at),
        "expires_at": _seconds(info.expires_at),
        "revoked_at": _seconds(info.revoked_at),
        "last_used_at": _seconds(info.last_used_at),
        "replaced_by": info.replaced_by,
    }


def _seconds(at: float | None) -> int | None:
    return None if at is None else int(at)
