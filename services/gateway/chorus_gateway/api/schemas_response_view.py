"""The response object, for the OpenAPI page."""

from typing import Any, Literal

from pydantic import BaseModel

from chorus_gateway.api.schemas_usage import CompletionTokensDetails


class InputDetails(BaseModel):
    cached_tokens: int
    cache_write_tokens: int


class OutputDetails(CompletionTokensDetails):
    reasoning_tokens: int


class ResponseUsage(BaseModel):
    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class OutputText(BaseModel):
    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[dict[str, Any]]


class OutputMessage(BaseModel):
    id: str
    type: Literal["message"]
    status: Literal["completed", "incomplete"]
    role: Literal["assistant"]
    content: list[OutputText]


class OutputCall(BaseModel):
    id: str
    type: Literal["function_call"]
    status: Literal["completed", "incomplete"]
    call_id: str
    name: str
    arguments: str


class IncompleteDetails(BaseModel):
    reason: Literal["max_output_tokens"]


class ResponseView(BaseModel):
    """With what the request asked for, as it was understood."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["completed", "incomplete"]
    incomplete_details: IncompleteDetails | None
    error: None
    model: str
    instructions: str | None
    output: list[OutputMessage | OutputCall]
    usage: ResponseUsage
    max_output_tokens: int | None
    metadata: dict[str, Any]
    parallel_tool_calls: bool
    temperature: float
    top_p: float
    tool_choice: Any
    tools: list[dict[str, Any]]
    text: dict[str, Any]
    service_tier: str
    store: Literal[False]
