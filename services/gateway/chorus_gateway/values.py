"""The values that a request's steps hand to one another (docs/request-path.md), in the order in which they appear."""

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import NamedTuple


class Scope(StrEnum):
    INFER = "infer"
    ADAPTERS = "adapters"
    ADMIN = "admin"


class Band(IntEnum):
    """Priority band; the lower value goes first. The numbers are those of engine.proto."""

    PRIORITY = 1
    DEFAULT = 2
    FLEX = 3


class Period(StrEnum):
    """What a budget is for, in calendar time of UTC."""

    DAY = "day"
    MONTH = "month"
    TOTAL = "total"  # for ever


NANO = 10**9  # amounts of money are whole billionths of the operator's currency


@dataclass(frozen=True, slots=True)
class Limits:
    """Of a tenant, a key, or a tenant's use of an adapter. None is no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None  # prompt and output
    tokens_per_day: int | None = None  # likewise; days are UTC's
    concurrent_requests: int | None = None
    budget: int | None = None  # billionths, at most 2**53
    budget_period: Period = Period.MONTH
    adapters: int | None = None
    adapter_bytes: int | None = None  # of all adapters together
    adapter_rank: int | None = None  # the largest


@dataclass(frozen=True, slots=True)
class Tenant:
    id: str  # 1 to 64 of a-z 0-9 . _ -, beginning with a letter or digit
    limits: Limits = field(default_factory=Limits)
    weight: float = 1.0  # share of capacity inside a band
    bands: frozenset[Band] = frozenset(Band)  # those that its requests may ask for
    default_max_tokens: int | None = None  # of a request that names no maximum
    suspended: bool = False


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: a key, and the tenant that it belongs to (none for an administrator's key)."""

    key_id: str
    scopes: frozenset[Scope]
    tenant: Tenant | None = None
    limits: Limits = field(default_factory=Limits)  # the key's own, beside its tenant's
    # Models that the key may use: a base's name, "base@adapter", "base@owner/adapter" or "base@*". None is all.
    models: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Price:
    """Millionths of the currency for a million tokens. What a request costs is rounded up to a billionth."""

    input: int = 0
    cached: int = 0  # prompt tokens taken from the prefix cache
    output: int = 0


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A base model that at least one known engine serves."""

    name: str
    digest: str
    tokenizer_digest: str
    max_model_len: int  # tokens, prompt and output
    eos_token_ids: tuple[int, ...]
    created: int  # seconds since 1970
    hidden_size: int = 0  # values of an embedding; 0 is not known


@dataclass(frozen=True, slots=True)
class Needs:
    """What an engine must serve to hold an adapter."""

    rank: int = 0
    outer_modules: frozenset[str] = frozenset()  # modules outside the layers


NOTHING = Needs()


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model's name, resolved once."""

    requested: str  # as the client wrote it
    base: BaseModel
    adapter: str | None = None  # digest; None is the base model
    namespace: bytes = b""  # HMAC(tenant, adapter digest, base digest): 32 bytes
    owner: str = ""  # the adapter's tenant
    adapter_name: str = ""
    generation: int = 0
    needs: Needs = NOTHING  # of the adapter


class ConstraintKind(StrEnum):
    """The names are those of engine.proto's Constraint."""

    JSON_OBJECT = "json_object"  # any JSON object
    JSON_SCHEMA = "json_schema"
    REGEX = "regex"
    CHOICE = "choice"
    LARK = "lark"


@dataclass(frozen=True, slots=True)
class Constraint:
    """What the output must be. The engine compiles it."""

    kind: ConstraintKind
    source: str = ""  # the schema as JSON, the expression or the grammar
    choices: tuple[str, ...] = ()  # of CHOICE
    param: str = ""  # the request's field that asked for it, which errors name
    # Of a grammar that the gateway wrote: rules, each with the field that it came from and words for its part in it.
    origins: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Sampling:
    """engine.proto's SamplingParams, checked against the API's ranges."""

    max_tokens: int
    min_tokens: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int | None = None
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None
    constraint: Constraint | None = None
    prompt_logprobs: int | None = None
    speculation: int | None = None  # None: as the engine sees fit


class Pooling(StrEnum):
    """How the hidden states of a prompt's tokens become one vector. The names are those of engine.proto."""

    MEAN = "mean"
    LAST = "last"


class EarlyStopping(IntEnum):
    """When a beam search ends that has as many answers as its width. The numbers are those of engine.proto."""

    GUESS = 0  # once the likeliest path would not score better if it ended now
    AT_ONCE = 1
    NEVER = 2  # once no path can become better


@dataclass(frozen=True, slots=True)
class BeamSearch:
    """Instead of draws: the likeliest answers, `width` of them."""

    width: int
    length_penalty: float = 1.0
    early_stopping: EarlyStopping = EarlyStopping.GUESS


@dataclass(frozen=True, slots=True)
class Job:
    """What the queue orders and an engine runs: one request, all of its names resolved."""

    request_id: str
    tenant: Tenant
    model: ResolvedModel
    prompt: tuple[int, ...]
    sampling: Sampling
    band: Band = Band.DEFAULT
    deadline: float | None = None  # seconds on the monotonic clock
    traceparent: str = ""
    aged: bool = False  # its band was passed over too often: it goes before all others
    pooling: Pooling | None = None  # the answer is the prompt's embedding
    cache_key: str = ""  # of the client's choice: prompts of one key likely begin alike
    beams: BeamSearch | None = None  # all answers to the prompt are this job's

    @property
    def most_tokens(self) -> int:
        """That may be produced for it."""
        return self.sampling.max_tokens * (1 if self.beams is None else self.beams.width)


class FinishReason(StrEnum):
    """How the engine ended a job. The API's own words are chosen in `api`."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    logprob: float  # natural logarithm
    top: tuple[tuple[int, float], ...] = ()  # (token id, logprob), likeliest first


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    computed_tokens: int = 0
    drafted_tokens: int = 0  # guessed ahead and verified
    accepted_tokens: int = 0  # of those, what became part of the answer


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds in the engine: until first scheduled, from then to the first token, from then to the end."""

    queued: float = 0.0
    prefill: float = 0.0
    decode: float = 0.0


class Beam(NamedTuple):
    """One answer of a beam search."""

    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...]  # as many as token_ids, or none
    finish: FinishReason


class Delta(NamedTuple):
    """News of one job from its engine. The first tokens come with `usage`, the last delta with it and `finish`.

    Of a beam search nothing but `usage` comes before its end: in `completion_tokens` are those of all paths until then.
    """

    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()  # as many as token_ids, or none
    finish: FinishReason | None = None
    usage: Usage | None = None
    timing: Timing | None = None
    prompt: tuple[TokenLogprob, ...] = ()  # of the prompt's tokens, from the second on
    embedding: bytes = b""  # float32 values, little-endian; with `finish`
    beams: tuple[Beam, ...] = ()  # the best first; with `finish`

    @property
    def answers(self) -> bool:
        """Whether anything in it is for the client."""
        return bool(self.token_ids or self.prompt or self.finish in (FinishReason.STOP, FinishReason.LENGTH))
