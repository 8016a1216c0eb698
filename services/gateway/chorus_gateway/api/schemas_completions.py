"""/v1/completions, as clients send it and as they are answered."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, PlainValidator, WithJsonSchema

from chorus_gateway.api.schema_types import whole
from chorus_gateway.api.schemas import MAX_CHOICES, MAX_TOP_LOGPROBS, UNSUPPORTED
from chorus_gateway.api.schemas_beams import BeamRequest
from chorus_gateway.api.schemas_usage import UsageView
from chorus_gateway.errors import InvalidRequest

DEFAULT_MAX_TOKENS = 16  # as OpenAI's
UNSUPPORTED_COMPLETIONS: Mapping[str, tuple[Any, ...]] = {
    **UNSUPPORTED,
    "suffix": ("",),
}


def _prompts(value: object) -> object:
    """One text or list of token ids, or a list of them, as a tuple of prompts."""
    if isinstance(value, str):
        return (whole(value),)
    if not isinstance(value, list) or not value:
        raise ValueError("must be a string, a list of token ids, or a list of either, and not empty")
    if _is_tokens(value):
        return (tuple(value),)
    if len(value) > MAX_CHOICES:
        raise ValueError(f"may have at most {MAX_CHOICES} prompts and has {len(value)}")
    for at, prompt in enumerate(value):
        if not isinstance(prompt, str) and not _is_tokens(prompt):
            raise ValueError(f"prompt {at} must be a string or a list of token ids")
    return tuple(whole(prompt) if isinstance(prompt, str) else tuple(prompt) for prompt in value)


def _is_tokens(value: object) -> bool:
    return (
        isinstance(value, list) and bool(value) and all(type(token) is int and 0 <= token < 1 << 32 for token in value)
    )


_TOKENS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
Prompts = Annotated[
    tuple[str | tuple[int, ...], ...],
    PlainValidator(_prompts),  # which leaves nothing to check again
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MAX_CHOICES},
                _TOKENS,
                {"type": "array", "items": _TOKENS, "minItems": 1, "maxItems": MAX_CHOICES},
            ]
        }
    ),
]


class CompletionRequest(BeamRequest):
    prompt: Prompts
    max_tokens: int | None = Field(
        None, ge=0, description=f"{DEFAULT_MAX_TOKENS} when absent; 0 answers with what `echo` asks for."
    )
    echo: bool | None = Field(None, description="The prompt too, in front of its answers, and with `logprobs` its own.")
    logprobs: int | None = Field(None, ge=0, le=MAX_TOP_LOGPROBS)

    def check(self, unsupported: Mapping[str, tuple[Any, ...]] = UNSUPPORTED_COMPLETIONS) -> None:
        super().check(unsupported)
        answers = self.made
        if answers != (self.n or 1):
            self._check_best_of(answers)
        if self.use_beam_search:
            self._check_beams()
        if answers * len(self.prompt) > MAX_CHOICES:
            raise InvalidRequest(
                f"n: {answers} answers to {len(self.prompt)} prompts are {answers * len(self.prompt)} choices, and at"
                f" most {MAX_CHOICES} are allowed: send fewer at once.",
                param="n",
            )

    def _check_beams(self) -> None:
        if self.max_tokens == 0:
            raise InvalidRequest("max_tokens: a beam search needs at least 1: ask for more.", param="max_tokens")
        if self.echo:
            raise InvalidRequest("echo: not with use_beam_search: leave one of them out.", param="echo")

    def _check_best_of(self, answers: int) -> None:
        least = self.n or 1
        if answers < least:
            raise InvalidRequest(f"best_of: {answers} is below n, which is {least}: ask for more.", param="best_of")
        if self.stream or self.echo:
            raise InvalidRequest(
                f"best_of: with {'stream' if self.stream else 'echo'} it can only be as many as n, which is {least}.",
                param="best_of",
            )


class CompletionLogprobs(BaseModel):
    tokens: list[str]
    token_logprobs: list[float | None] = Field(description="null for a prompt's first token, which has no past")
    top_logprobs: list[dict[str, float] | None] | None = Field(None, exclude_if=lambda tops: tops is None)
    text_offset: list[int]


class CompletionChoice(BaseModel):
    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Literal["stop", "length"]


class Completion(BaseModel):
    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: UsageView
    service_tier: str
    system_fingerprint: str
