"""The tables. A change here comes with a revision in migrations/versions."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
)
from sqlalchemy.types import TypeEngine

VERSION_TABLE = "alembic_version_store"

# Ordered by code point on every database, as pages of List rely on.
NAME: TypeEngine[str] = String(64).with_variant(String(64, collation="C"), "postgresql")
DIGEST = String(64)
# SQLite counts rows by itself only in an INTEGER column.
ROW_ID: TypeEngine[int] = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData()

bases = Table(
    "bases",
    metadata,
    Column("digest", DIGEST, primary_key=True),
    Column("name", String(255), nullable=False, index=True),
    Column("spec", JSON, nullable=False),
    Column("seen_at", Double, nullable=False),  # seconds since 1970 when an engine was last seen to begin serving it
)

# A row outlives its generations, so that their numbers are never used again.
adapters = Table(
    "adapters",
    metadata,
    Column("id", ROW_ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("name", NAME, nullable=False),
    Column("next_generation", Integer, nullable=False),
    Column("visibility", String(8), nullable=False, server_default="private"),
    UniqueConstraint("tenant", "name", name="uq_adapters_tenant_name"),
)

# With whom an adapter of visibility "shared" is shared.
shares = Table(
    "shares",
    metadata,
    Column("adapter_id", ROW_ID, ForeignKey("adapters.id"), nullable=False),
    Column("tenant", NAME, nullable=False, index=True),
    PrimaryKeyConstraint("adapter_id", "tenant", name="pk_shares"),
)

generations = Table(
    "generations",
    metadata,
    Column("id", ROW_ID, primary_key=True),
    Column("adapter_id", ROW_ID, ForeignKey("adapters.id"), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("model", String(255), nullable=False),
    Column("base_digest", DIGEST, nullable=False),
    Column("digest", DIGEST, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("modules", JSON, nullable=False),
    Column("config_sha256", DIGEST, nullable=False),
    Column("config_size", BigInteger, nullable=False),
    Column("weights_sha256", DIGEST, nullable=False),
    Column("weights_size", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    # Seconds since 1970: no request resolves to it since.
    Column("retired_at", Double, nullable=True),
    # Seconds since 1970: from then on it has no name, and after a grace period it is removed.
    Column("deleted_at", Double, nullable=True),
    Column("reason", String(500), nullable=False, server_default=""),  # of retiring or deleting it
    UniqueConstraint("adapter_id", "generation", name="uq_generations_adapter_generation"),
    Index("ix_generations_digest", "digest"),
    Index("ix_generations_config_sha256", "config_sha256"),
    Index("ix_generations_weights_sha256", "weights_sha256"),
    Index("ix_generations_deleted_at", "deleted_at"),
)

# What became of uploads and generations; it refers to nothing, so that it outlives them.
transitions = Table(
    "transitions",
    metadata,
    Column("id", ROW_ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("name", NAME, nullable=False),
    Column("generation", Integer, nullable=False),  # 0: an upload that was refused
    Column("state", String(16), nullable=False),
    Column("reason", String(1000), nullable=False),
    Column("at", Double, nullable=False, index=True),
    Index("ix_transitions_adapter", "tenant", "name", "id"),
)

aliases = Table(
    "aliases",
    metadata,
    Column("adapter_id", ROW_ID, ForeignKey("adapters.id"), nullable=False),
    Column("alias", NAME, nullable=False),
    Column("generation_id", ROW_ID, ForeignKey("generations.id"), nullable=False, index=True),
    PrimaryKeyConstraint("adapter_id", "alias", name="pk_aliases"),
)

# The second generation of an alias that points at two.
canaries = Table(
    "canaries",
    metadata,
    Column("adapter_id", ROW_ID, ForeignKey("adapters.id"), nullable=False),
    Column("alias", NAME, nullable=False),
    Column("generation_id", ROW_ID, ForeignKey("generations.id"), nullable=False, index=True),
    Column("percent", Integer, nullable=False),
    PrimaryKeyConstraint("adapter_id", "alias", name="pk_canaries"),
)

# By generations' numbers, which outlive their rows.
alias_changes = Table(
    "alias_changes",
    metadata,
    Column("id", ROW_ID, primary_key=True),
    Column("adapter_id", ROW_ID, ForeignKey("adapters.id"), nullable=False),
    Column("alias", NAME, nullable=False),
    Column("generation", Integer, nullable=False),  # 0: the alias was removed
    Column("canary", Integer, nullable=False),  # 0: none
    Column("percent", Integer, nullable=False),
    Column("changed_at", Double, nullable=False),
    Index("ix_alias_changes_alias", "adapter_id", "alias", "id"),
)

# What an administrator keeps on engines. Of an adapter whose generations are all deleted it means nothing, until they
# are restored.
pins = Table(
    "pins",
    metadata,
    Column("adapter_id", ROW_ID, ForeignKey("adapters.id"), primary_key=True, autoincrement=False),
    Column("version", NAME, nullable=False),  # a generation's number or an alias
    Column("tier", String(4), nullable=False),
    Column("engines", Integer, nullable=False),  # 0: all of the base
)

# One row: how often a placer has begun to lead. Commands carry it, and engines refuse lower ones.
placer_terms = Table(
    "placer_terms",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("term", BigInteger, nullable=False),
)

# The adapters of each base that were used most and last; a new engine begins with them.
adapter_usage = Table(
    "adapter_usage",
    metadata,
    Column("base_digest", DIGEST, nullable=False),
    Column("digest", DIGEST, nullable=False),
    Column("score", Double, nullable=False),  # requests, older ones counting less, as of used_at
    Column("used_at", Double, nullable=False),  # seconds since 1970
    PrimaryKeyConstraint("base_digest", "digest", name="pk_adapter_usage"),
)
