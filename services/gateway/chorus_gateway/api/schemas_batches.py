"""/v1/batches, as clients send them and are answered."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from chorus_gateway.api.schema_types import Text
from chorus_gateway.batches.store import Page
from chorus_gateway.batches.values import WINDOW, Batch, NewBatch, Problem, Status
from chorus_gateway.values import Usage

MAX_PAIRS = 16
Key = Annotated[Text, StringConstraints(max_length=64)]
Value = Annotated[Text, StringConstraints(max_length=512)]


class OutputExpiry(BaseModel):
    model_config = ConfigDict(strict=True)

    anchor: Literal["created_at"]
    seconds: int = Field(ge=3600, le=30 * 24 * 3600)


class BatchRequest(BaseModel):
    """Fields that are not known are accepted and ignored, as OpenAI does."""

    model_config = ConfigDict(strict=True, frozen=True)

    input_file_id: Text = Field(min_length=1, max_length=64)
    endpoint: Text = Field(min_length=1, max_length=64, description="Of every line.", examples=["/v1/chat/completions"])
    completion_window: Literal["24h"]
    metadata: dict[Key, Value] | None = Field(None, max_length=MAX_PAIRS)
    output_expires_after: OutputExpiry | None = None

    def to_batch(self) -> NewBatch:
        expiry = self.output_expires_after
        return NewBatch(self.endpoint, self.input_file_id, self.metadata, expiry.seconds if expiry else None)


class BatchErrorView(BaseModel):
    code: str
    message: str
    param: str | None = None
    line: int | None = None

    @classmethod
    def of(cls, problem: Problem) -> "BatchErrorView":
        return cls(code=problem.code, message=problem.message, param=problem.param, line=problem.line)


class BatchErrors(BaseModel):
    object: Literal["list"] = "list"
    data: list[BatchErrorView]


class CountsView(BaseModel):
    total: int
    completed: int
    failed: int


class InputDetails(BaseModel):
    cached_tokens: int


class OutputDetails(BaseModel):
    reasoning_tokens: int = 0


class BatchUsage(BaseModel):
    """Of the answers in the output so far."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails = OutputDetails()
    total_tokens: int

    @classmethod
    def of(cls, usage: Usage) -> "BatchUsage":
        return cls(
            input_tokens=usage.prompt_tokens,
            input_tokens_details=InputDetails(cached_tokens=usage.cached_tokens),
            output_tokens=usage.completion_tokens,
            total_tokens=usage.prompt_tokens + usage.completion_tokens,
        )


class BatchView(BaseModel):
    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None = Field(None, description="That all of its lines name.")
    errors: BatchErrors | None = None
    input_file_id: str
    completion_window: str = WINDOW
    status: Status
    output_file_id: str | None = None
    error_file_id: str | None = None
    created_at: int
    in_progress_at: int | None = None
    expires_at: int
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: CountsView
    usage: BatchUsage | None = None
    metadata: dict[str, str] | None = None

    @classmethod
    def of(cls, batch: Batch) -> "BatchView":
        counts, problems = batch.counts, [BatchErrorView.of(problem) for problem in batch.problems]
        moments: dict[str, Any] = {moment: int(at) for moment, at in batch.moments.items()}
        return cls(
            id=batch.id,
            endpoint=batch.wanted.endpoint,
            model=batch.model,
            errors=BatchErrors(data=problems) if problems else None,
            input_file_id=batch.wanted.input_file_id,
            status=batch.status,
            output_file_id=batch.output_file_id,
            error_file_id=batch.error_file_id,
            created_at=int(batch.created_at),
            expires_at=int(batch.expires_at),
            request_counts=CountsView(total=counts.total, completed=counts.completed, failed=counts.failed),
            usage=None if batch.usage is None else BatchUsage.of(batch.usage),
            metadata=None if batch.wanted.metadata is None else dict(batch.wanted.metadata),
            **moments,
        )


class BatchList(BaseModel):
    object: Literal["list"] = "list"
    data: list[BatchView]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool

    @classmethod
    def of(cls, page: Page) -> "BatchList":
        views = [BatchView.of(batch) for batch in page.batches]
        first, last = (views[0].id, views[-1].id) if views else (None, None)
        return cls(data=views, first_id=first, last_id=last, has_more=page.has_more)
