"""What the caller gets."""

from dataclasses import dataclass

from chorus_engine.core.request import FinishReason, SampledToken


@dataclass(frozen=True, slots=True)
class Piece:
    """News of the answer to prompt `index`."""

    index: int
    text: str
    tokens: tuple[SampledToken, ...] = ()
    finish: FinishReason | None = None  # with the last one
    prompt: tuple[SampledToken, ...] = ()  # of the prompt's tokens, from the second on, where they were asked for


@dataclass(frozen=True, slots=True)
class Completion:
    """The answer to one prompt."""

    prompt_token_ids: tuple[int, ...]
    text: str
    tokens: tuple[SampledToken, ...]  # end-of-text or a stop token included
    finish: FinishReason  # stop or length
    prompt: tuple[SampledToken, ...] = ()

    @property
    def token_ids(self) -> tuple[int, ...]:
        return tuple(token.token_id for token in self.tokens)
