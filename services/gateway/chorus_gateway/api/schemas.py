"""What chat and text completions have in common, as clients send it."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from chorus_gateway.api.schema_types import Biases, Drafts, Stops, Text, TokenId
from chorus_gateway.api.schemas_constraint import ConstrainedRequest
from chorus_gateway.errors import InvalidRequest
from chorus_gateway.values import Band, Sampling

_SEEDS = 1 << 64
_LEAST_TOP_P = 1e-6  # the likeliest token is always among those that are left: the engine's word for 0
MAX_CHOICES = 128
MAX_TOP_LOGPROBS = 20

ServiceTier = Literal["auto", "default", "priority", "flex"]
BANDS: Mapping[str, Band] = {
    "auto": Band.DEFAULT,
    "default": Band.DEFAULT,
    "priority": Band.PRIORITY,
    "flex": Band.FLEX,
}


class StreamOptions(BaseModel):
    model_config = ConfigDict(strict=True)

    include_usage: bool | None = Field(None, description="One more event before the last, with the usage.")


class GenerationRequest(ConstrainedRequest):
    """Fields that are not known are accepted and ignored, as OpenAI does; wrong values are not."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow")

    model: Text = Field(
        min_length=1,
        max_length=512,
        description="`base`, `base@adapter`, or `base@adapter:version`.",
        examples=["chorus-demo"],
    )
    n: int | None = Field(None, ge=1, le=MAX_CHOICES, description="Answers to each prompt.")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, le=2, description="0 always takes the likeliest token.")
    top_p: float | None = Field(None, ge=0, le=1, description="0 always takes the likeliest token.")
    top_k: int | None = Field(None, ge=-1, le=1_000_000, description="0 and -1 are off.")
    min_p: float | None = Field(None, ge=0, le=1)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    repetition_penalty: float | None = Field(None, gt=0, le=10, description="1 is off.")
    logit_bias: Biases = Field(default_factory=dict)
    seed: int | None = Field(None, ge=-(1 << 63), lt=_SEEDS, description="The same seed gives the same answer.")
    stop: Stops = Field(default_factory=list, description="Up to 4 strings that end the answer and are not part of it.")
    stop_token_ids: list[TokenId] | None = Field(None, max_length=256)
    include_stop_str_in_output: bool | None = None
    min_tokens: int | None = Field(None, ge=0, le=1 << 30, description="No stop before this many tokens.")
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    speculation: Drafts = Field(
        None, description="Tokens guessed ahead a step, at most: `off`, `auto` (as many as pay), or so many."
    )
    prompt_cache_key: Text | None = Field(None, description="Prompts of one key go where the last one went.")
    user: Text | None = None
    metadata: dict[str, Any] | None = None
    service_tier: ServiceTier | None = Field(None, description="The answer says which was used.")

    def extra(self) -> Mapping[str, Any]:
        """Fields that no schema names, as they came."""
        return self.model_extra or {}

    def band(self) -> Band:
        return BANDS[self.service_tier or "auto"]

    def sampling(self, logprobs: int | None) -> Sampling:
        """Without `max_tokens`, which the prompt's length bounds later."""
        return Sampling(
            max_tokens=0,
            min_tokens=self.min_tokens or 0,
            temperature=1.0 if self.temperature is None else self.temperature,
            top_k=max(0, self.top_k or 0),
            top_p=1.0 if self.top_p is None else max(self.top_p, _LEAST_TOP_P),
            min_p=self.min_p or 0.0,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            repetition_penalty=1.0 if self.repetition_penalty is None else self.repetition_penalty,
            logit_bias=tuple(self.logit_bias.items()),
            seed=None if self.seed is None else self.seed % _SEEDS,
            stop_token_ids=tuple(self.stop_token_ids or ()),
            ignore_eos=bool(self.ignore_eos),
            logprobs=logprobs,
            constraint=self.constraint(),
            speculation=self.speculation,
        )

    def check(self, unsupported: Mapping[str, tuple[Any, ...]]) -> None:
        """What no single field can tell. InvalidRequest names the field."""
        if self.stream_options is not None and not self.stream:
            raise InvalidRequest("stream_options: only allowed when stream is true.", param="stream_options")
        for name, value in self.extra().items():
            if name in unsupported and not _harmless(value, unsupported[name]):
                raise InvalidRequest(
                    f"{name}: not supported by this server, and leaving it aside would change the answer: remove it.",
                    param=name,
                    code="unsupported_parameter",
                )


# Fields that would change the answer, with the values that ask for nothing.
UNSUPPORTED: Mapping[str, tuple[Any, ...]] = {
    "prompt_logprobs": (),
    "truncate_prompt_tokens": (),
    "allowed_token_ids": (),
    "bad_words": ([],),
    "logits_processors": ([],),
    "add_special_tokens": (),
}


def _harmless(value: Any, harmless: tuple[Any, ...]) -> bool:
    # Compared by type too: 1 and true are equal, and not the same answer.
    return value is None or any(value == other and type(value) is type(other) for other in harmless)
