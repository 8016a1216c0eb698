"""Runs one plan after another; owns every tensor that lives from step to step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from chorus_engine.core.errors import EngineError
from chorus_engine.core.plan import StepPlan, StepResult
from chorus_engine.core.request import SampledToken
from chorus_engine.core.spec import Capacity
from chorus_engine.model import LoadedModel
from chorus_engine.model.attention import AttentionBackend, PagedAttention
from chorus_engine.runner.adapters import AdapterSource
from chorus_engine.runner.allocation import asked_for
from chorus_engine.runner.bound_rows import ConstraintSource
from chorus_engine.runner.costs import measured
from chorus_engine.runner.drafts import Verify, agreeing, singles
from chorus_engine.runner.drawn import Drawn
from chorus_engine.runner.kv_cache import KvCache
from chorus_engine.runner.network import Computed
from chorus_engine.runner.networks import Way, make_draft_model, make_network
from chorus_engine.runner.reader import Reader, Reads
from chorus_engine.runner.rows import RowTable
from chorus_engine.runner.sampler import Sampler
from chorus_engine.runner.streams import Mark


@dataclass(frozen=True, slots=True)
class Pending:
    """A step under way. On CPU it is complete already."""

    plan: StepPlan
    drawn: Drawn | None
    sampling: Sequence[int]  # index in the plan of each row of `drawn`
    loaded: Callable[[], tuple[int, ...]]
    computed: Mark | None = None  # the end of a step that draws nothing
    reads: Reads | None = None
    origin: Sequence[int] | None = None  # index in the plan of each row that `reads` speaks of; None: the same

    def result(self) -> StepResult:
        """Waits for the step's tokens, or its end if it has none; without rows, for the first load under way.

        Once a result is there, what the step read may be given to others: a load asks no stream before it writes.
        """
        sampled: list[tuple[SampledToken, ...]] = [()] * len(self.plan.rows)
        failed: list[tuple[int, EngineError]] = []
        if self.drawn is not None:
            for index, drawn in zip(self.sampling, self.drawn.read(), strict=True):
                if isinstance(drawn, tuple):
                    sampled[index] = drawn
                else:
                    failed.append((index, drawn))
        elif self.computed is not None:
            self.computed.wait()
        readings = () if self.reads is None else self.reads.result()
        if self.origin is not None:
            readings = tuple(replace(reading, row=self.origin[reading.row]) for reading in readings)
        return StepResult(self.plan.step, tuple(sampled), self.loaded(), readings, tuple(failed))


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on the device by what they are for."""

    weights: int
    kv_cache: int
    adapters: int
    graphs: int


class Runner:
    """Needs nothing but plans: what they leave out is kept here from a row's admission to its release."""

    def __init__(
        self,
        model: LoadedModel,
        capacity: Capacity,
        adapters: AdapterSource,
        *,
        eager: bool = False,
        attention: AttentionBackend = PagedAttention,
        paged_kernels: bool | None = None,
        constraints: ConstraintSource | None = None,
        verify: Verify = agreeing,
        draft: LoadedModel | None = None,
    ) -> None:
        """eager: no CUDA graphs. attention: the CPU's. paged_kernels: CUDA's way, as is usual on CUDA alone.
        constraints: without them no request may have one. verify: another changes what is answered.
        draft: the model that guesses where plans want it; of the model's vocabulary, dtype and device.

        Raises StartError for a capacity that memory does not hold.
        """
        self.capacity = capacity
        config, device = model.decoder.config, model.device
        self._model = model
        self._weight_bytes = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
        self._cache = KvCache(config, capacity, model.dtype, device)
        with asked_for(f"{capacity.max_num_seqs} rows", "lower CHORUS_MAX_NUM_SEQS"):
            self._rows = RowTable(capacity, self._cache.null_block, device)
        self._sampler = Sampler(capacity.max_num_seqs, config.vocab_size, device, constraints, verify)
        self._reader = Reader(capacity.max_num_seqs, config.hidden_size, self._rows.token_ids, self._logits_of)
        way = Way(eager, attention, paged_kernels)
        self._pool, self._network = make_network(model, capacity, self._cache, self._rows, adapters, way)
        self._draft = None
        if draft is not None:
            self._draft = make_draft_model(draft, capacity, self._rows, adapters, way, self._sampler.guess)

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Captures graphs, compiles kernels and measures the costs that the capacity lacks. Before the first plan."""
        self._network.warm_up()
        for rows in self._network.sample_sizes:
            normed = torch.zeros(rows, self._model.spec.hidden_size, dtype=self._model.dtype, device=self._model.device)
            self._sampler.warm_up(self._model.decoder.logits(normed))
        if self._draft is not None:
            self._draft.warm_up()
        if self._model.device.type == "cuda":
            self.capacity = measured(self.capacity, self._network, self._cache, self._rows.scratch, self._model.device)

    @property
    def memory(self) -> Memory:
        cache, graphs = self._cache.bytes, self._network.graph_bytes
        if self._draft is not None:
            cache, graphs = cache + self._draft.cache_bytes, graphs + self._draft.graph_bytes
        return Memory(self._weight_bytes, cache, self._pool.bytes, graphs)

    @torch.inference_mode()
    def launch(self, plan: StepPlan) -> Pending:
        """Starts a step. Plans must come in order; a plan's rows must fit the capacity."""
        self._sampler.settle()
        self._cache.swap_out(plan.swap_out)
        if self._draft is not None:
            self._draft.swap_out(plan.swap_out)
            self._draft.release(plan.release)
        for row in plan.release:
            self._rows.release(row)
            self._sampler.release(row)
            self._reader.release(row)
        for load in plan.load:
            self._pool.load(load)
        for admission in plan.admit:
            self._rows.admit(admission)
            self._sampler.admit(admission)
            self._reader.admit(admission)
        for step in plan.rows:
            if step.new_blocks:
                self._rows.append_blocks(step)
        new_blocks = [block for step in plan.rows for block in step.new_blocks]
        self._network.clear(new_blocks)
        self._cache.swap_in(plan.swap_in)
        self._cache.copy(plan.copy)
        if self._draft is not None:
            self._draft.fill(new_blocks, plan.swap_in, plan.copy)
        if not plan.rows:
            return Pending(plan, None, (), lambda: self._pool.loaded(wait=True))
        self._rows.tell_device()
        return self._compute(plan)

    def _compute(self, plan: StepPlan) -> Pending:
        self._rows.store_drafts(plan.rows)
        if self._draft is not None:
            self._draft.run(plan.rows)
        rows = singles(plan.rows)
        computed = self._network.run(rows.steps, whole=self._reader.wants(rows.steps))
        reads = self._reader.read(rows.steps, computed)
        origin = rows.origin if rows.drafted else None
        if computed is None or not computed.sampling:
            return Pending(plan, None, (), self._loaded, Mark(self._model.device), reads, origin)
        logits = self._model.decoder.logits(computed.normed, computed.lora)
        before = self._tokens_before(computed) if rows.drafted else None
        drawn = self._sampler.draw(logits, computed, rows.steps, before)
        count = len(drawn.tokens)
        cells, positions = computed.rows[:count], computed.positions[:count]
        drawn.when_sent(lambda: self._rows.store_sampled(cells, positions, drawn.tokens))
        return Pending(plan, drawn, rows.owners(computed.sampling), self._loaded, reads=reads, origin=origin)

    def _tokens_before(self, computed: Computed) -> Tensor:
        """What each place of the draw comes after: a draft, at all but a row's first."""
        count = len(computed.sampling)
        return self._rows.tokens_before(computed.rows[:count], computed.positions[:count])

    def _logits_of(self, normed: Tensor, row: int) -> Tensor:
        """normed: [tokens, hidden], all of one row; the result is [tokens, vocab]."""
        return self._model.decoder.logits(normed, self._network.head_lora(row, len(normed)))

    def _loaded(self) -> tuple[int, ...]:
        return self._pool.loaded(wait=False)
