"""One line of the results."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Aim:
    """Tokens a second: output's, in `prefill` the prompt's."""

    vllm: float  # 0.24.0 on the same kind of card
    reach: float
    aim: float


AIMS: Mapping[tuple[str, int], Aim] = {
    ("single", 0): Aim(203, 225, 255),
    ("single", 1): Aim(141, 205, 240),
    ("batch32", 0): Aim(5470, 5700, 6600),
    ("batch32", 32): Aim(1617, 4800, 5600),
    ("batch128", 0): Aim(14637, 14700, 17000),
    ("batch128", 32): Aim(5620, 12500, 14600),
    ("mixed", 0): Aim(6953, 7000, 7600),
    ("mixed", 32): Aim(3854, 5800, 6900),
    ("prefill", 0): Aim(43117, 43000, 46000),
    ("prefill", 8): Aim(33272, 39500, 43500),
    ("overflow", 64): Aim(1648, 2600, 3300),
    ("overflow-common", 64): Aim(1648, 9500, 12500),
}


@dataclass(frozen=True, slots=True)
class Row:
    """What is not measured is None. `bounds`: of `measured`, the most that a value may be."""

    workload: str
    adapters: int
    output_tokens_per_s: float | None = None
    prompt_tokens_per_s: float | None = None
    step_ms: float | None = None  # median decode step
    limit_step_ms: float | None = None  # the least that a decode step can take
    share_of_limit: float | None = None  # of the whole workload: the least seconds that it can take, over its seconds
    seconds: tuple[float, ...] = ()  # of each repeat
    measured: Mapping[str, Any] = field(default_factory=dict)  # what this row alone has
    bounds: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Row":
        return cls(**{each.name: values[each.name] for each in fields(cls) if each.name in values})

    @property
    def key(self) -> tuple[str, int]:
        return self.workload, self.adapters

    @property
    def rate(self) -> float | None:
        """What its aim is about."""
        return self.prompt_tokens_per_s if self.workload == "prefill" else self.output_tokens_per_s

    @property
    def missed(self) -> list[str]:
        """What it should have reached and did not."""
        found = [f"{name} {self.measured[name]} > {most}" for name, most in self.bounds.items() if self._over(name)]
        aim = AIMS.get(self.key)
        if aim is not None and (self.rate or 0.0) < aim.reach:
            found.append(f"{self.rate or 0.0:,.0f} < {aim.reach:,.0f} tok/s")
        return found

    def _over(self, name: str) -> bool:
        value = self.measured.get(name)
        return value is not None and value > self.bounds[name]

    def to_json(self, *, with_aims: bool) -> dict[str, Any]:
        """With aims only on the model that they are about."""
        values = asdict(self)
        if with_aims:
            aim = AIMS.get(self.key)
            if aim is not None:
                values |= {"vllm_tokens_per_s": aim.vllm, "reach": aim.reach, "aim": aim.aim}
            if aim is not None or self.bounds:
                values["missed"] = self.missed
        return values

    def line(self, *, with_aims: bool) -> str:
        parts = [f"{self.workload:16} {self.adapters:3} adapters"]
        if self.rate is not None:
            parts.append(f"{self.rate:9,.1f} tok/s")
        if self.step_ms is not None:
            parts.append(f"step {self.step_ms:.2f} of {self.limit_step_ms or 0:.2f} ms")
        if self.share_of_limit is not None:
            parts.append(f"{self.share_of_limit:.0%} of the limit")
        parts += [f"{name} {value}" for name, value in self.measured.items() if not isinstance(value, dict)]
        if with_aims and (aim := AIMS.get(self.key)):
            parts.append(f"vLLM {aim.vllm:,.0f}, reach {aim.reach:,.0f}, aim {aim.aim:,.0f}")
        if with_aims and (self.bounds or self.key in AIMS):
            parts.append("MISSED " + "; ".join(self.missed) if self.missed else "reached")
        return "   ".join(parts)
