"""What is asked of the engine, and what it answers, as values."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from chorus_engine.core.constraint import Constraint


class Band(IntEnum):
    """Priority band; the lower value goes first."""

    PRIORITY = 1
    DEFAULT = 2
    FLEX = 3


class FinishReason(StrEnum):
    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    ERROR = "error"


class Pooling(StrEnum):
    """How the hidden states of a prompt's tokens, after the final norm, become one vector of length 1."""

    MEAN = "mean"
    LAST = "last"  # the last token's


MAX_SPECULATION = 16  # drafts a step


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How tokens are drawn. Ranges are those of engine.proto; `rpc` has checked them."""

    max_tokens: int  # 0: the prompt is computed and nothing produced
    min_tokens: int = 0
    temperature: float = 1.0  # 0 is greedy
    top_k: int = 0  # 0 is off
    top_p: float = 1.0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()  # (token id, added to its logit)
    seed: int = 0  # 64 bits; drawn by `rpc` when the request has none
    stop_token_ids: tuple[int, ...] = ()  # end-of-text tokens included unless the request ignores them
    logprobs: int | None = None  # None: none; n: the sampled token's and the n likeliest tokens'
    constraint: Constraint | None = None  # what the output must be
    prompt_logprobs: int | None = None  # likewise, of the prompt's tokens
    speculation: int | None = None  # drafts a step, at most MAX_SPECULATION; 0: none; None: as many as pay


class EarlyStopping(IntEnum):
    """When a beam search that has as many answers as its width ends: transformers' `early_stopping`.
    The numbers are those of engine.proto."""

    GUESS = 0  # false: once the likeliest path would not score better if it ended now
    AT_ONCE = 1  # true
    NEVER = 2  # "never": once no path can become better, however long


@dataclass(frozen=True, slots=True)
class BeamParams:
    """Instead of a draw: the `width` likeliest answers that a beam search finds, as transformers searches.

    An answer's score is the sum of its tokens' log probabilities / its length ** length_penalty.
    """

    width: int
    length_penalty: float = 1.0
    early_stopping: EarlyStopping = EarlyStopping.GUESS


@dataclass(frozen=True, slots=True)
class Request:
    """One submission. `id` is unique in the engine for as long as the submission lives."""

    id: str
    prompt: tuple[int, ...]  # token ids, at least one
    sampling: SamplingParams
    adapter: str | None = None  # digest; None is the base model
    namespace: bytes = b""  # prefix-cache blocks are shared only inside one
    band: Band = Band.DEFAULT
    counter: float = 0.0  # the tenant's virtual token counter; the lower goes first inside a band
    tenant: str = ""  # opaque tag
    arrival: float = 0.0  # seconds on the monotonic clock
    deadline: float | None = None  # the same clock
    traceparent: str = ""
    pooling: Pooling | None = None  # answered by the prompt's embedding, with max_tokens 0
    goes_on: bool = False  # others will come whose prompts begin with all of this one's
    beams: BeamParams | None = None  # answered by beams; of `sampling` lengths, stops and log probabilities count

    @property
    def reads_prompt(self) -> bool:
        """Whether something of each of the prompt's tokens is wanted, so that none may come from a cache."""
        return self.pooling is Pooling.MEAN or self.sampling.prompt_logprobs is not None


@dataclass(frozen=True, slots=True)
class SampledToken:
    token_id: int
    logprob: float | None = None  # natural logarithm, before temperature and filters
    top: tuple[tuple[int, float], ...] = ()  # (token id, logprob), likeliest first
    ends: bool = False  # the request's constraint allows nothing after it


@dataclass(frozen=True, slots=True)
class Beam:
    """One answer of a beam search."""

    tokens: tuple[SampledToken, ...]
    finish: FinishReason  # STOP or LENGTH
    score: float


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int
    completion_tokens: int  # of a beam search, drawn for all paths so far; with its end, of its beams
    cached_tokens: int = 0  # prompt tokens taken from the prefix cache
    computed_tokens: int = 0  # tokens that passed through the model, recomputation included
    drafted_tokens: int = 0  # guessed ahead and verified
    accepted_tokens: int = 0  # of those, what the model would have sampled itself, as far as the answer goes


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds: until first scheduled, from then to the first token, from then to the end."""

    queued: float = 0.0
    prefill: float = 0.0
    decode: float = 0.0


@dataclass(frozen=True, slots=True)
class Output:
    """News of one request after one step. The last one has `finish`, and with it `usage` and `timing`.

    The first tokens come with a `usage` too, and all of a request with drafts: who ends the request at a stop string
    never sees the last one.
    By then all of the prompt's tokens have come, if they were asked for: from the second on, the first one with a past.
    A beam search has a `usage` after each of its rounds, and its `beams`, the best first, with `finish`.
    """

    request_id: str
    tokens: tuple[SampledToken, ...] = ()
    finish: FinishReason | None = None
    error: Exception | None = None  # with FinishReason.ERROR only, one of core.errors
    usage: Usage | None = None
    timing: Timing | None = None
    prompt: tuple[SampledToken, ...] = ()  # of the prompt, with their log probabilities
    embedding: bytes = b""  # [hidden] float32, little-endian; with `finish`
    beams: tuple[Beam, ...] = ()
