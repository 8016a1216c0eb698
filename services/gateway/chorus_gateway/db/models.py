"""The gateway's tables. Times are seconds since 1970."""

from sqlalchemy import BigInteger, Double, ForeignKey, LargeBinary, MetaData, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chorus_gateway.values import Limits, Tenant

# Named constraints, so that later migrations can change them on every database.
NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)


class TenantRow(Base):
    __tablename__ = "tenants"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    weight: Mapped[float] = mapped_column(Double)
    requests_per_minute: Mapped[int | None]
    tokens_per_minute: Mapped[int | None]
    concurrent_requests: Mapped[int | None]
    created_at: Mapped[float] = mapped_column(Double)
    adapters: Mapped[int | None]
    adapter_bytes: Mapped[int | None] = mapped_column(BigInteger)
    adapter_rank: Mapped[int | None]

    def to_tenant(self) -> Tenant:
        limits = Limits(
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
            concurrent_requests=self.concurrent_requests,
            adapters=self.adapters,
            adapter_bytes=self.adapter_bytes,
            adapter_rank=self.adapter_rank,
        )
        return Tenant(id=self.id, limits=limits, weight=self.weight)


class ApiKeyRow(Base):
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
