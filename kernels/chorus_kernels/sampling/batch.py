"""What a batch of rows asks of the sampler. Absent parts cost nothing; all tensors are on the logits' device."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Penalties:
    rows: Tensor  # [penalised] int64, rows of the logits
    presence: Tensor  # [penalised] float32, subtracted once from tokens of the output
    frequency: Tensor  # [penalised] float32, subtracted as often as the output has the token
    repetition: Tensor  # [penalised] float32, divides positive and multiplies negative logits of known tokens
    output_counts: Tensor  # [penalised, vocab] int32, of the tokens produced
    in_prompt: Tensor  # [penalised, vocab] bool


@dataclass(frozen=True, slots=True)
class Bias:
    """values[i] is added to token tokens[i] of row rows[i]; -inf forbids it. All are [entries]."""

    rows: Tensor  # int64
    tokens: Tensor  # int64
    values: Tensor  # float32


@dataclass(frozen=True, slots=True)
class RandomRows:
    """The rows that are not greedy."""

    rows: Tensor | None  # [random] int64; None is every row
    temperature: Tensor  # [random] float32, above 0
    seeds: Tensor  # [random] int64
    positions: Tensor  # [random] int64, of the token to be drawn
    top_k: Tensor | None = None  # [random] int64, 1 to vocab
    largest_top_k: int = 0
    top_p: Tensor | None = None  # [random] float32, 1 or more is off
    min_p: Tensor | None = None  # [random] float32, 0 is off


@dataclass(frozen=True, slots=True)
class SamplingBatch:
    penalties: Penalties | None = None
    bias: Bias | None = None
    random: RandomRows | None = None  # None: every row is greedy
