"""The gateway's tables. Times are seconds since 1970, but for the audit log's; money is in billionths."""

from dataclasses import replace

from sqlalchemy import BigInteger, Double, ForeignKey, LargeBinary, MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chorus_gateway.values import Band, Limits, Period, Tenant

# Named constraints, so that later migrations can change them on every database.
NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)


class LimitColumns:
    """The limits on use, which tenants, keys and tenants' use of adapters have alike."""

    requests_per_minute: Mapped[int | None]
    tokens_per_minute: Mapped[int | None]
    tokens_per_day: Mapped[int | None] = mapped_column(BigInteger)
    concurrent_requests: Mapped[int | None]
    budget: Mapped[int | None] = mapped_column(BigInteger)
    budget_period: Mapped[str] = mapped_column(String(8), default=Period.MONTH.value)

    def to_limits(self) -> Limits:
        return Limits(
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
            tokens_per_day=self.tokens_per_day,
            concurrent_requests=self.concurrent_requests,
            budget=self.budget,
            budget_period=Period(self.budget_period),
        )


class TenantRow(LimitColumns, Base):
    __tablename__ = "tenants"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    weight: Mapped[float] = mapped_column(Double)
    created_at: Mapped[float] = mapped_column(Double)
    adapters: Mapped[int | None]
    adapter_bytes: Mapped[int | None] = mapped_column(BigInteger)
    adapter_rank: Mapped[int | None]
    bands: Mapped[str] = mapped_column(String(64), default="priority,default,flex")  # comma-separated
    default_max_tokens: Mapped[int | None]
    suspended_at: Mapped[float | None] = mapped_column(Double)
    # A deleted tenant's id is never given out again: usage, audit and caches know it by this id.
    deleted_at: Mapped[float | None] = mapped_column(Double)

    def to_tenant(self) -> Tenant:
        return Tenant(
            id=self.id,
            limits=self._all_limits(),
            weight=self.weight,
            bands=frozenset(Band[name.upper()] for name in self.bands.split(",")),
            default_max_tokens=self.default_max_tokens,
            suspended=self.suspended_at is not None,
        )

    def _all_limits(self) -> Limits:
        return replace(
            self.to_limits(),
            adapters=self.adapters,
            adapter_bytes=self.adapter_bytes,
            adapter_rank=self.adapter_rank,
        )


class ApiKeyRow(LimitColumns, Base):
    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    # None is an administrator's key.
    tenant_id: Mapped[str | None] = mapped_column(ForeignKey("tenants.id"), index=True)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary(32))
    scopes: Mapped[str] = mapped_column(String(64))  # comma-separated
    name: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[float] = mapped_column(Double)
    expires_at: Mapped[float | None] = mapped_column(Double)
    revoked_at: Mapped[float | None] = mapped_column(Double)
    models: Mapped[str | None] = mapped_column(Text)  # space-separated patterns; None is all
    networks: Mapped[str | None] = mapped_column(Text)  # space-separated, as CIDR; None is any
    last_used_at: Mapped[float | None] = mapped_column(Double)
    replaced_by: Mapped[str | None] = mapped_column(String(12))  # by rotation


class AdapterLimitsRow(LimitColumns, Base):
    """Of a tenant's use of one adapter, its own or another's."""

    __tablename__ = "adapter_limits"

    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    owner: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(128), primary_key=True)


class PriceRow(Base):
    """Millionths of the currency for a million tokens."""

    __tablename__ = "prices"

    model: Mapped[str] = mapped_column(String(256), primary_key=True)
    adapter: Mapped[str] = mapped_column(String(200), primary_key=True)  # "owner/name"; empty is the base itself
    input: Mapped[int] = mapped_column(BigInteger)
    cached: Mapped[int] = mapped_column(BigInteger)
    output: Mapped[int] = mapped_column(BigInteger)
    updated_at: Mapped[float] = mapped_column(Double)


class Recorded:
    """What the audit log tells of one change."""

    at: Mapped[int] = mapped_column(BigInteger)  # milliseconds since 1970
    actor: Mapped[str] = mapped_column(String(12))  # the key's id
    client: Mapped[str] = mapped_column(String(64))  # its address
    action: Mapped[str] = mapped_column(String(64))
    object: Mapped[str] = mapped_column(String(512))
    details: Mapped[str] = mapped_column(Text)  # JSON


class AuditRow(Recorded, Base):
    __tablename__ = "audit"

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    prev_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class AuditIntentRow(Recorded, Base):
    """A change that has begun and not been entered into the log yet."""

    __tablename__ = "audit_intents"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
