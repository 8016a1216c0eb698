"""The engines that the rows run on: one process each, so that rows which share one start it once."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

GIB = 2**30
TOKEN = "the-token-of-the-benchmark"


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Settings of one engine, and the adapters that are in its host memory."""

    name: str
    slots: int = 0  # adapters that device memory holds at once; 0 is LoRA off
    max_rank: int = 16
    adapters: int = 0  # in host memory
    ranks: tuple[int, ...] = (16,)  # adapter i has ranks[i mod their number]
    prefix_caching: bool = False
    max_num_seqs: int = 256
    max_num_batched_tokens: int | None = None  # None is the engine's own default
    max_model_len: int = 4096
    gpu_memory_utilization: float = 0.85
    kv_cache_bytes: int = GIB // 16  # on CPU
    swap_bytes: int = 0
    constraints: bool = False  # answers may be bound, where llguidance is installed
    speculation: bool = False  # by script
    host_bytes: int = 0  # of host memory that adapters are fetched into; 0: all are there, and none is fetched

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "EngineConfig":
        return cls(**{**values, "ranks": tuple(values["ranks"])})


ENGINES: Sequence[EngineConfig] = (
    EngineConfig("lora", slots=64, adapters=64),  # first: it compiles every kernel, so its start is the cold one
    EngineConfig("base"),
    EngineConfig("overflow", slots=8, adapters=64),
    EngineConfig("ranks", slots=32, max_rank=64, adapters=32, ranks=(8, 16, 32, 64)),
    # 32 adapters stay resident; the others take turns in what is left of slots and host memory, which is too little.
    EngineConfig("loading", slots=36, adapters=56, host_bytes=GIB),
    EngineConfig("prefix", prefix_caching=True),
    EngineConfig("constrained", constraints=True),
    EngineConfig("speculating", speculation=True),
)
