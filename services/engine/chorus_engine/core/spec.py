"""Sizes and limits that are measured or read once and never change."""

from dataclasses import dataclass

OUTER_LAYER = -1  # in the place of a layer's index: modules that stand outside the layers
EMBEDDING = "embed_tokens"
HEAD = "lm_head"


@dataclass(frozen=True, slots=True)
class LinearModule:
    """A linear module of every decoder layer, or one outside the layers, that may carry LoRA."""

    path: str  # inside a layer, such as "self_attn.q_proj", or EMBEDDING or HEAD
    in_features: int
    out_features: int


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The base model, as `Describe` gives it and the adapter store keeps it."""

    name: str
    digest: str
    architecture: str
    dtype: str
    num_layers: int
    hidden_size: int
    vocab_size: int
    modules: tuple[LinearModule, ...]
    max_position_embeddings: int
    eos_token_ids: tuple[int, ...]
    outer_modules: tuple[LinearModule, ...] = ()  # outside the layers: EMBEDDING, HEAD; none where none are served


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the scheduler may spend. Measured once at start, after the weights are in memory."""

    max_model_len: int  # tokens, prompt and output of one request
    max_num_seqs: int  # rows that run at once
    max_num_batched_tokens: int  # tokens a step
    block_size: int  # tokens a KV block
    num_blocks: int  # KV blocks
    max_adapters: int  # adapter slots
    adapter_page_rows: int  # rank rows a page
    adapter_pages: int  # pages of each (layer, module) pool
    swap_blocks: int = 0  # KV blocks of pinned host memory
    swap_seconds: float = 0.0  # measured: one block, one way; 0 is unknown
    recompute_seconds: float = 0.0  # measured: one token of a prompt; 0 is unknown
    max_lora_rank: int = 0  # rank rows that one module of an adapter may take
    vocab_pages: int = 0  # pages of the pool of each module outside the layers: those have the vocabulary's width
    max_verified: int = 0  # tokens that a step with drafts may draw, even if fewer rows run at once; 0: there are none

    @property
    def max_drawn(self) -> int:
        """Tokens that one step may draw: one a row, and one more for each draft."""
        return max(self.max_num_seqs, self.max_verified)


@dataclass(frozen=True, slots=True)
class AdapterFootprint:
    """What an adapter takes of the pool: the true rank of each (layer, module) that it has."""

    digest: str
    ranks: tuple[tuple[int, str, int], ...]  # (layer or OUTER_LAYER, module path, rank)
    bytes: int = 0  # of its weights as they are copied into a slot
