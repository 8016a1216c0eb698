"""/v1/embeddings, as clients send it and as it is answered."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from chorus_gateway.api.schema_types import Text, whole
from chorus_gateway.api.schemas import BANDS, ServiceTier
from chorus_gateway.values import Band

MAX_INPUTS = 2048  # as OpenAI's


def _inputs(value: object) -> object:
    """One text or list of token ids, or a list of them, as a tuple of inputs."""
    if isinstance(value, str):
        return (_text(value),)
    if not isinstance(value, list) or not value:
        raise ValueError("must be a string, a list of token ids, or a list of either, and not empty")
    if _is_tokens(value):
        return (tuple(value),)
    if len(value) > MAX_INPUTS:
        raise ValueError(f"may have at most {MAX_INPUTS} inputs and has {len(value)}")
    for at, each in enumerate(value):
        if not isinstance(each, str) and not _is_tokens(each):
            raise ValueError(f"input {at} must be a string or a list of token ids")
    return tuple(_text(each) if isinstance(each, str) else tuple(each) for each in value)


def _text(text: str) -> str:
    if not text:
        raise ValueError("must not be an empty string")
    return whole(text)


def _is_tokens(value: object) -> bool:
    return (
        isinstance(value, list) and bool(value) and all(type(token) is int and 0 <= token < 1 << 32 for token in value)
    )


_TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
_TOKENS: dict[str, Any] = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
_LIMITS = {"minItems": 1, "maxItems": MAX_INPUTS}
Inputs = Annotated[
    tuple[str | tuple[int, ...], ...],
    PlainValidator(_inputs),  # which leaves nothing to check again
    WithJsonSchema(
        {
            "anyOf": [
                _TEXT,
                {"type": "array", "items": _TEXT, **_LIMITS},
                _TOKENS,
                {"type": "array", "items": _TOKENS, **_LIMITS},
            ]
        }
    ),
]


class EmbeddingRequest(BaseModel):
    """Fields that are not known are accepted and ignored, as OpenAI does; wrong values are not."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow")

    model: Text = Field(
        min_length=1,
        max_length=512,
        description="`base`, `base@adapter`, or `base@adapter:version`.",
        examples=["chorus-demo"],
    )
    input: Inputs
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="`float` when absent; `base64` is float32, little-endian."
    )
    dimensions: int | None = Field(
        None, ge=1, description="The first so many values, of length 1 again; at most what the model has."
    )
    pooling: Literal["mean", "last"] | None = Field(
        None, description="Of the last hidden states: their mean (when absent), or the last token's."
    )
    user: str | None = None
    service_tier: ServiceTier | None = None

    def band(self) -> Band:
        return BANDS[self.service_tier or "auto"]


class Embedding(BaseModel):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str = Field(description="a list, or base64 of float32 values")


class EmbeddingUsage(BaseModel):
    prompt_tokens: int
    total_tokens: int


class EmbeddingList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
