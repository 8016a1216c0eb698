"""What the answers of a batch used, and the model that they are from; of older batches nobody knows."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

COUNTS = ("prompt_tokens", "cached_tokens", "completion_tokens")


def upgrade() -> None:
    op.add_column("batches", sa.Column("model", sa.Text()))
    for count in COUNTS:
        op.add_column("batches", sa.Column(count, sa.BigInteger()))


def downgrade() -> None:
    for name in ("model", *COUNTS):
        op.drop_column("batches", name)
