"""The usage object of all answers."""

from pydantic import BaseModel

from chorus_gateway.values import Usage


class PromptTokensDetails(BaseModel):
    cached_tokens: int


class CompletionTokensDetails(BaseModel):
    """Tokens that were guessed ahead, by whether they were right."""

    accepted_prediction_tokens: int
    rejected_prediction_tokens: int

    @classmethod
    def of(cls, usage: Usage) -> "CompletionTokensDetails":
        rejected = max(0, usage.drafted_tokens - usage.accepted_tokens)
        return cls(accepted_prediction_tokens=usage.accepted_tokens, rejected_prediction_tokens=rejected)


class UsageView(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails

    @classmethod
    def of(cls, usage: Usage) -> "UsageView":
        return cls(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            total_tokens=usage.prompt_tokens + usage.completion_tokens,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=usage.cached_tokens),
            completion_tokens_details=CompletionTokensDetails.of(usage),
        )
