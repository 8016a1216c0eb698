"""Bases, adapters, generations and aliases."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NAME = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
DIGEST = sa.String(64)


def upgrade() -> None:
    op.create_table(
        "bases",
        sa.Column("digest", DIGEST, primary_key=True),
        sa.Column("name", sa.String(255), nullable=False, index=True),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("seen_at", sa.Double, nullable=False),
    )
    op.create_table(
        "adapters",
        sa.Column("id", ROW_ID, primary_key=True),
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("next_generation", sa.Integer, nullable=False),
        sa.UniqueConstraint("tenant", "name", name="uq_adapters_tenant_name"),
    )
    create_generations()
    op.create_table(
        "aliases",
        sa.Column("adapter_id", ROW_ID, sa.ForeignKey("adapters.id"), nullable=False),
        sa.Column("alias", NAME, nullable=False),
        sa.Column("generation_id", ROW_ID, sa.ForeignKey("generations.id"), nullable=False, index=True),
        sa.PrimaryKeyConstraint("adapter_id", "alias", name="pk_aliases"),
    )


def create_generations() -> None:
    op.create_table(
        "generations",
        sa.Column("id", ROW_ID, primary_key=True),
        sa.Column("adapter_id", ROW_ID, sa.ForeignKey("adapters.id"), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("base_digest", DIGEST, nullable=False),
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.Column("modules", sa.JSON, nullable=False),
        sa.Column("config_sha256", DIGEST, nullable=False),
        sa.Column("config_size", sa.BigInteger, nullable=False),
        sa.Column("weights_sha256", DIGEST, nullable=False),
        sa.Column("weights_size", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("retired_at", sa.Double, nullable=True),
        sa.UniqueConstraint("adapter_id", "generation", name="uq_generations_adapter_generation"),
        sa.Index("ix_generations_digest", "digest"),
        sa.Index("ix_generations_config_sha256", "config_sha256"),
        sa.Index("ix_generations_weights_sha256", "weights_sha256"),
        sa.Index("ix_generations_retired_at", "retired_at"),
    )
