"""Batches as their table has them."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row

from chorus_gateway.batches.values import Batch, Counts, NewBatch, Problem, Status
from chorus_gateway.db.batches import MOMENTS
from chorus_gateway.values import Usage


def to_batch(row: Row[Any]) -> Batch:
    wanted = NewBatch(row.endpoint, row.input_file_id, json.loads(row.request_metadata), row.output_seconds)
    return Batch(
        id=row.id,
        tenant=row.tenant,
        key=row.key,
        wanted=wanted,
        status=Status(row.status),
        created_at=row.created_at,
        expires_at=row.expires_at,
        counts=Counts(row.total, row.completed, row.failed),
        moments={name: value for name in MOMENTS if (value := getattr(row, name)) is not None},
        usage=_usage(row),
        model=row.model,
        problems=tuple(Problem(**each) for each in json.loads(row.errors)),
        output_file_id=row.output_file_id,
        error_file_id=row.error_file_id,
    )


def to_row(batch: Batch) -> dict[str, Any]:
    """Of a new batch: nobody works on it yet."""
    return {
        "id": batch.id,
        "tenant": batch.tenant,
        "key": batch.key,
        "endpoint": batch.wanted.endpoint,
        "input_file_id": batch.wanted.input_file_id,
        "status": batch.status.value,
        "created_at": batch.created_at,
        "expires_at": batch.expires_at,
        "total": 0,
        "completed": 0,
        "failed": 0,
        "prompt_tokens": 0,
        "cached_tokens": 0,
        "completion_tokens": 0,
        "errors": problems_text(()),
        "request_metadata": json.dumps(batch.wanted.metadata),
        "output_seconds": batch.wanted.output_seconds,
        "lease_epoch": 0,
        "lease_until": 0.0,
    }


def _usage(row: Row[Any]) -> Usage | None:
    if row.prompt_tokens is None:
        return None
    return Usage(row.prompt_tokens, row.completion_tokens, row.cached_tokens)


def problems_text(problems: Sequence[Problem]) -> str:
    return json.dumps([asdict(problem) for problem in problems])
