"""The tables of files and batches. Times are seconds since 1970."""

from sqlalchemy import BigInteger, Column, Double, Index, Integer, LargeBinary, SmallInteger, String, Table, Text

from chorus_gateway.db.models import Base

files = Table(
    "files",
    Base.metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("filename", String(512), nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("state", String(8), nullable=False),  # chorus_gateway.files.values.State
    Column("bytes", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("touched_at", Double, nullable=False),  # when its last chunk was written
    Index("ix_files_tenant_created_at", "tenant", "created_at"),
    Index("ix_files_expires_at", "expires_at"),
    Index("ix_files_state", "state"),
)

file_chunks = Table(
    "file_chunks",
    Base.metadata,
    Column("file_id", String(40), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

MOMENTS = (
    "in_progress_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)

UNDER_WAY = ("validating", "in_progress", "finalizing", "cancelling")  # the statuses of a batch that is not over

batches = Table(
    "batches",
    Base.metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("key", String(12), nullable=False),  # that made it, and under which its lines are asked
    Column("endpoint", String(64), nullable=False),
    Column("input_file_id", String(40), nullable=False),
    Column("output_file_id", String(40)),
    Column("error_file_id", String(40)),
    Column("status", String(16), nullable=False),  # chorus_gateway.batches.values.Status
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    *(Column(moment, Double) for moment in MOMENTS),
    Column("total", Integer, nullable=False),
    Column("completed", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    # Of the answers in the output. Of batches that were made before these columns nobody knows.
    Column("prompt_tokens", BigInteger),
    Column("cached_tokens", BigInteger),
    Column("completion_tokens", BigInteger),
    Column("model", Text),  # that all lines name, once they are read
    Column("errors", Text, nullable=False),  # JSON: what is wrong with the input
    Column("request_metadata", Text, nullable=False),  # JSON
    Column("output_seconds", Integer),  # how long its output is kept
    # Who works on it, and until when. One that is over, with nothing left to tidy up, has no `lease_until`.
    Column("lease_epoch", Integer, nullable=False),  # one more for every owner: what an older one writes is refused
    Column("lease_until", Double),
    Index("ix_batches_tenant_created_at", "tenant", "created_at"),
    Index("ix_batches_lease_until", "lease_until"),
    Index("ix_batches_input_file_id", "input_file_id"),
)

batch_lines = Table(
    "batch_lines",
    Base.metadata,
    Column("batch_id", String(40), primary_key=True),
    Column("line", Integer, primary_key=True, autoincrement=False),  # of the input, from 1
    Column("ok", SmallInteger, nullable=False),  # 1 goes to the output, 0 to the errors
    Column("data", LargeBinary, nullable=False),  # its line there, with the line's end
)
