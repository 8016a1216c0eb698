"""What the scheduler tells the runner for one step, and what comes back.

A plan is serialisable and complete: a runner that is one rank of several needs nothing else. The runner keeps the state
of each *row* (token ids, block table, sampling, adapter slot) from its admission to its release, so a plan carries only
what changes and no work a step grows with the context.
"""

from dataclasses import dataclass

from chorus_engine.core.errors import EngineError
from chorus_engine.core.request import Pooling, SampledToken, SamplingParams

BASE_SLOT = -1  # the adapter slot of requests for the base model


@dataclass(frozen=True, slots=True)
class ModulePages:
    """Where one module of one layer lives in the adapter pool."""

    layer: int  # or OUTER_LAYER
    module: str  # path of a LinearModule, such as "self_attn.q_proj"
    rank: int  # true rank
    pages: tuple[int, ...]  # of the (layer, module) pool, in order of rank rows


@dataclass(frozen=True, slots=True)
class SlotLoad:
    """Copy an adapter from host memory into its pages. Earlier contents of the slot are gone."""

    slot: int
    digest: str
    modules: tuple[ModulePages, ...]


@dataclass(frozen=True, slots=True)
class Admission:
    """A request enters row `row`, for the first time or again after preemption."""

    row: int
    request_id: str
    token_ids: tuple[int, ...]  # prompt, then the tokens produced before a preemption
    prompt_len: int
    slot: int  # adapter slot or BASE_SLOT
    sampling: SamplingParams
    # The first blocks of the row's table, never cleared: cached ones, swapped-in ones, the target of a copy. The row's
    # first RowStep starts past the positions that are in them.
    blocks: tuple[int, ...] = ()
    pooling: Pooling | None = None


@dataclass(frozen=True, slots=True)
class RowStep:
    """Compute positions [start, start + count) of a row.

    A token id at a position not yet known to the scheduler (start + count past the tokens committed so far) is the one
    that the runner sampled for this row in its last step.

    Drafts are guesses of the tokens at positions [start + 1, start + count). A row that has any computes one token
    beside them, draws one from the logits of each position, and takes drafts for as long as they are what it drew. The
    row's next step is planned when this one is committed, and begins past what was taken.
    """

    row: int
    start: int
    count: int
    new_blocks: tuple[int, ...]  # appended to the row's block table first; to be cleared
    sample: bool  # draw a token from the logits of the last position
    read: bool = False  # something of each position of the prompt is wanted: its log probabilities, its part of a mean
    drafts: tuple[int, ...] = ()  # token ids that the scheduler guesses
    guesses: int = 0  # instead of those: how many tokens the runner's own draft model guesses

    @property
    def drafted(self) -> int:
        return len(self.drafts) + self.guesses


@dataclass(frozen=True, slots=True)
class StepPlan:
    """Plans take effect in the order of their launch, and each in this: swap out, release, load, admit, clear new
    blocks, swap in, copy, rows.

    What a plan releases (a row, its blocks, the slot it leased) no step in flight uses: steps that did are committed.
    In one plan no block is the target of two of clear, swap in and copy, and none of them touches the source of a copy.
    A row may read blocks that another row of the same plan fills: keys and values of all rows are stored before any is
    read, layer by layer.
    A plan without rows is there for its loads or for loads under way; its result may wait until one of them is ready.
    """

    step: int
    rows: tuple[RowStep, ...]
    release: tuple[int, ...] = ()  # rows whose state is dropped, before admissions
    admit: tuple[Admission, ...] = ()
    load: tuple[SlotLoad, ...] = ()
    swap_out: tuple[tuple[int, int], ...] = ()  # (block, host block): the block may be cleared by this very plan
    swap_in: tuple[tuple[int, int], ...] = ()  # (host block, block); the host block may be taken by the next plan
    copy: tuple[tuple[int, int], ...] = ()  # (from block, to block), before a row writes into a block that others read


@dataclass(frozen=True, slots=True)
class Reading:
    """What a row's step tells of its prompt."""

    row: int  # index in StepPlan.rows
    logprobs: tuple[SampledToken, ...] = ()  # of the prompt's tokens after each of the step's positions
    embedding: bytes = b""  # with the row's last step: [hidden] float32, little-endian


@dataclass(frozen=True, slots=True)
class StepResult:
    step: int
    # Aligned with StepPlan.rows: none where nothing was sampled, else the drafts that were taken and one token more.
    sampled: tuple[tuple[SampledToken, ...], ...]
    loaded: tuple[int, ...] = ()  # adapter slots whose copy has finished since the last result
    readings: tuple[Reading, ...] = ()
    failed: tuple[tuple[int, EngineError], ...] = ()  # (index in StepPlan.rows, why its request cannot go on)
