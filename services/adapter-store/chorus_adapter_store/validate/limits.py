"""How large the parts of an adapter may be."""

from collections.abc import Mapping
from dataclasses import dataclass

from chorus_adapter_store.values import CONFIG_FILE, WEIGHTS_FILE, BaseSpec

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    max_rank: int = 64
    max_config_bytes: int = MIB
    max_weights_bytes: int = 1024 * MIB  # without matrices of the base
    max_header_bytes: int = 4 * MIB
    max_tensors: int = 16384
    max_patterns: int = 4096  # entries of rank_pattern or alpha_pattern
    max_pattern_length: int = 1024  # characters of one pattern
    pattern_seconds: float = 2.0  # spent on matching all of one adapter's patterns

    def sizes(self, base: BaseSpec | None) -> Mapping[str, int]:
        """The most bytes of each file of an adapter, which may bring matrices of its base beside its own."""
        whole = base.whole_bytes if base is not None else 0
        return {CONFIG_FILE: self.max_config_bytes, WEIGHTS_FILE: self.max_weights_bytes + whole}
