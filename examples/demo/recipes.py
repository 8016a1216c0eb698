"""What is trained, and for how long."""

from dataclasses import dataclass
from typing import Any

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
ALL = (*ATTENTION, "gate_proj", "up_proj", "down_proj")

ARCHITECTURE: dict[str, Any] = {
    "hidden_size": 192,
    "intermediate_size": 384,
    "num_hidden_layers": 5,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}

DRAFT_ARCHITECTURE: dict[str, Any] = {
    **ARCHITECTURE,
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """A LoRA adapter. Its file has rank * (in + out) numbers for each module of each layer."""

    rank: int
    alpha: int
    modules: tuple[str, ...]
    rslora: bool = False
    effort: float = 1.0  # times the preset's steps


ADAPTERS = {
    "spell": Recipe(4, 8, ("q_proj", "v_proj"), effort=1.5),
    "mood": Recipe(8, 16, ("q_proj", "v_proj", "o_proj"), effort=0.5),
    "upper": Recipe(8, 16, ATTENTION),
    "reverse": Recipe(16, 32, ALL),
    "sort": Recipe(32, 16, ALL, rslora=True, effort=1.5),
    "translate": Recipe(32, 64, ALL, effort=0.75),
    "extract": Recipe(64, 128, ATTENTION, effort=0.5),
}


@dataclass(frozen=True, slots=True)
class Effort:
    """How long a training lasts: `steps` batches of `batch` rows at a peak learning rate of `rate`."""

    steps: int
    batch: int
    rate: float
    pool: int  # examples or documents drawn beforehand
    score_every: int  # steps


@dataclass(frozen=True, slots=True)
class Preset:
    base: Effort
    adapter: Effort


PRESETS = {
    "full": Preset(Effort(4800, 160, 2e-3, 400_000, 400), Effort(1600, 256, 3e-3, 200_000, 200)),
    "quick": Preset(Effort(6000, 10, 3e-3, 150_000, 300), Effort(1200, 48, 4e-3, 60_000, 100)),
}

DRAFT = Effort(1000, 64, 4e-3, 40_000, 100)
