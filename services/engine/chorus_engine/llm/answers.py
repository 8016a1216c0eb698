"""What the caller gets."""

from dataclasses import dataclass

from chorus_engine.core.request import FinishReason, SampledToken, Usage


@dataclass(frozen=True, slots=True)
class Found:
    """One answer of a beam search."""

    text: str
    tokens: tuple[SampledToken, ...]  # up to the one that completed a stop string
    finish: FinishReason
    score: float  # log probability / length ** length_penalty, before a stop string cut it

    @property
    def token_ids(self) -> tuple[int, ...]:
        return tuple(token.token_id for token in self.tokens)


@dataclass(frozen=True, slots=True)
class Piece:
    """News of the answer to prompt `index`."""

    index: int
    text: str
    tokens: tuple[SampledToken, ...] = ()
    finish: FinishReason | None = None  # with the last one
    prompt: tuple[SampledToken, ...] = ()  # of the prompt's tokens, from the second on, where they were asked for
    usage: Usage | None = None  # so far; at least with the first one and the last
    beams: tuple[Found, ...] = ()  # with the last one: what a search found, the best first; text and tokens are its


@dataclass(frozen=True, slots=True)
class Completion:
    """The answer to one prompt."""

    prompt_token_ids: tuple[int, ...]
    text: str
    tokens: tuple[SampledToken, ...]  # end-of-text or a stop token included
    finish: FinishReason  # stop or length
    prompt: tuple[SampledToken, ...] = ()
    drafted_tokens: int = 0  # guessed ahead
    accepted_tokens: int = 0  # of those, what became part of the answer
    beams: tuple[Found, ...] = ()  # what a search found, the best first; text, tokens and finish are its

    @property
    def token_ids(self) -> tuple[int, ...]:
        return tuple(token.token_id for token in self.tokens)
