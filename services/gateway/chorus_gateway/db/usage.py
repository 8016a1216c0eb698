"""The tables of the usage ledger. Times are seconds since 1970, days are UTC's (2026-01-31), money is billionths."""

from sqlalchemy import BigInteger, Column, Double, Index, Integer, SmallInteger, String, Table

from chorus_gateway.db.models import Base

DAY_KEYS = ("day", "tenant", "key", "base", "adapter")
DAY_SUMS = ("requests", "prompt", "cached", "completion", "computed", "cost")

usage_requests = Table(
    "usage_requests",
    Base.metadata,
    Column("request_id", String(64), primary_key=True),
    Column("at", Double, nullable=False),  # of its admission
    Column("day", String(10), nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("key", String(12), nullable=False),
    Column("base", String, nullable=False),
    Column("adapter", String, nullable=False),  # "owner/name"; "" is the base model itself
    Column("generation", Integer, nullable=False),
    Column("band", SmallInteger, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("prompt", BigInteger, nullable=False),
    Column("cached", BigInteger, nullable=False),  # of the prompt
    Column("completion", BigInteger, nullable=False),
    Column("computed", BigInteger, nullable=False),
    Column("cost", BigInteger, nullable=False),
    Column("price_input", BigInteger, nullable=False),
    Column("price_cached", BigInteger, nullable=False),
    Column("price_output", BigInteger, nullable=False),
    Index("ix_usage_requests_at", "at"),
    Index("ix_usage_requests_tenant_at", "tenant", "at"),
)

usage_days = Table(
    "usage_days",
    Base.metadata,
    Column("day", String(10), primary_key=True),
    Column("tenant", String(64), primary_key=True),
    Column("key", String(12), primary_key=True),
    Column("base", String, primary_key=True),
    Column("adapter", String, primary_key=True),
    *(Column(name, BigInteger, nullable=False) for name in DAY_SUMS),
    Index("ix_usage_days_tenant_day", "tenant", "day"),
)
