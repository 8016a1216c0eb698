"""What the store knows, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import sha256
from typing import Any

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
LATEST = "latest"
EMBEDDING = "embed_tokens"
HEAD = "lm_head"
_WIDEST_BYTES = 4  # of a value in the largest dtype


@dataclass(frozen=True, slots=True)
class LinearModule:
    """A linear module of every decoder layer, or one outside the layers, that may carry LoRA."""

    path: str  # inside a layer, such as "self_attn.q_proj", or EMBEDDING or HEAD
    in_features: int
    out_features: int
    # Of one outside the layers: dtype, such as "BF16" → SHA-256 of the base's own matrix in it; none where nobody told.
    weight_sha256: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class BaseSpec:
    """A base model as an engine's Describe gives it: enough to check an adapter with no engine up."""

    name: str
    digest: str
    architecture: str
    dtype: str
    num_layers: int
    hidden_size: int
    vocab_size: int
    modules: tuple[LinearModule, ...]
    outer_modules: tuple[LinearModule, ...] = ()  # outside the layers: EMBEDDING, HEAD; none where none are served

    @property
    def whole_bytes(self) -> int:
        """The most that an adapter may bring of the base's own: its embedding and its head."""
        known = [module for module in self.outer_modules if module.weight_sha256]
        return len(known) * self.vocab_size * self.hidden_size * _WIDEST_BYTES

    @classmethod
    def of(cls, fields: dict[str, Any]) -> "BaseSpec":
        """From what `asdict` made of one, by an earlier version too."""
        lists = {
            name: tuple(LinearModule(**module) for module in fields.get(name, ()))
            for name in ("modules", "outer_modules")
        }
        return cls(**{**fields, **lists})


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of an adapter. The digest is also its address among the blobs."""

    name: str
    sha256: str  # 64 lower-case hex characters
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class AdapterFacts:
    """What validation found in a good upload."""

    rank: int  # the largest of any module
    modules: tuple[str, ...]  # such as "layers.0.self_attn.q_proj", in the base's order, then EMBEDDING and HEAD

    @property
    def outer_modules(self) -> frozenset[str]:
        return frozenset(self.modules) & {EMBEDDING, HEAD}


@dataclass(frozen=True, slots=True)
class AdapterName:
    tenant: str
    name: str


class State(StrEnum):
    """A generation's, in order; REFUSED is an upload's end that made no generation."""

    UPLOADED = "uploaded"
    VALIDATED = "validated"
    PUBLISHED = "published"
    RETIRED = "retired"  # no new request may use it
    DELETED = "deleted"  # and gone after a grace period
    GONE = "gone"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Transition:
    generation: int  # 0: an upload that was refused
    state: State
    at: float  # seconds since 1970
    reason: str = ""


class Visibility(StrEnum):
    PRIVATE = "private"
    SHARED = "shared"
    PUBLIC = "public"


@dataclass(frozen=True, slots=True)
class Sharing:
    """Who but its owner may use an adapter."""

    visibility: Visibility = Visibility.PRIVATE
    tenants: tuple[str, ...] = ()  # with SHARED: which, ordered


@dataclass(frozen=True, slots=True)
class Target:
    """What an alias points at: a generation, and maybe a second one for a share of the requests."""

    generation: int
    canary: int = 0  # generation; 0 is none
    percent: int = 0  # the canary's share, 1 to 99


@dataclass(frozen=True, slots=True)
class AliasChange:
    target: Target | None  # None: the alias was removed
    changed_at: float  # seconds since 1970


@dataclass(frozen=True, slots=True)
class Quota:
    """What a tenant may have. 0 is no limit."""

    adapters: int = 0  # names with a generation that is not deleted
    bytes: int = 0  # of all generations, deleted ones too until they are gone; the same bytes count once
    rank: int = 0  # the largest of an adapter


UNLIMITED = Quota()


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page of a listing ended."""

    tenant: str
    name: str
    generation: int


@dataclass(frozen=True, slots=True)
class Draft:
    """A validated upload that is not in the catalog yet."""

    adapter: AdapterName
    base: BaseSpec
    facts: AdapterFacts
    config: StoredFile
    weights: StoredFile
    quota: Quota = UNLIMITED
    stages: tuple[tuple[State, float], ...] = ()  # that the upload passed, and when: seconds since 1970

    @property
    def digest(self) -> str:
        return adapter_digest(self.config.sha256, self.weights.sha256)


@dataclass(frozen=True, slots=True)
class Generation:
    """One immutable version of an adapter."""

    adapter: AdapterName
    model: str
    base_digest: str
    generation: int  # from 1; never used again after a delete
    digest: str
    facts: AdapterFacts
    config: StoredFile
    weights: StoredFile
    created_at: float  # seconds since 1970
    aliases: tuple[str, ...] = ()
    sharing: Sharing = Sharing()
    state: State = State.PUBLISHED  # or RETIRED, or DELETED
    reason: str = ""  # of its being retired or deleted
    canary_of: tuple[tuple[str, int], ...] = ()  # alias, its share of that alias's requests in percent

    @property
    def files(self) -> tuple[StoredFile, StoredFile]:
        return self.config, self.weights

    def seen_by(self, tenant: str) -> "Generation":
        """With whom else an adapter is shared is its owner's to know."""
        if tenant == self.adapter.tenant:
            return self
        return replace(self, sharing=Sharing(self.sharing.visibility))


class Tier(StrEnum):
    """Of an engine's memory."""

    HOST = "host"
    GPU = "gpu"  # its slots, on any device


@dataclass(frozen=True, slots=True)
class Pin:
    """An adapter that engines keep whatever its demand."""

    adapter: AdapterName
    version: str  # a generation's number or an alias
    tier: Tier = Tier.GPU
    engines: int = 0  # on how many of its base; 0 is all


@dataclass(frozen=True, slots=True)
class PinStatus:
    pin: Pin
    held: int  # engines that have it pinned in that tier by now


@dataclass(frozen=True, slots=True)
class PlacedFile:
    """What placing an adapter takes to know of it. The same bytes may be published for several bases."""

    digest: str
    models: frozenset[str]  # names of the bases that requests may use it with
    rank: int
    size: int  # bytes of its weights as uploaded
    outer_modules: frozenset[str] = frozenset()  # EMBEDDING, HEAD


@dataclass(frozen=True, slots=True)
class Usage:
    """How much an adapter of a base was used."""

    base_digest: str
    digest: str
    score: float  # requests, older ones counting less, as of `used_at`
    used_at: float  # seconds since 1970


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a name means: one generation, or two between which the share decides."""

    generation: Generation
    canary: Generation | None = None
    percent: int = 0  # the canary's share


def adapter_digest(config_sha256: str, weights_sha256: str) -> str:
    """SHA-256 over the raw digests of adapter_config.json and adapter_model.safetensors, in this order."""
    return sha256(bytes.fromhex(config_sha256) + bytes.fromhex(weights_sha256)).hexdigest()
