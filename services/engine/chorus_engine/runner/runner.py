"""Runs one plan after another; owns every tensor that lives from step to step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from chorus_engine.core.plan import RowStep, StepPlan, StepResult
from chorus_engine.core.spec import Capacity
from chorus_engine.model import LoadedModel, ModelInput
from chorus_engine.model.attention import AttentionBackend, PagedAttention
from chorus_engine.model.lora import lora_sites
from chorus_engine.runner.adapter_pool import AdapterPool, HostWeights
from chorus_engine.runner.inputs import StepInput, build_input
from chorus_engine.runner.kv_cache import KvCache
from chorus_engine.runner.rows import RowTable
from chorus_engine.runner.sampler import Drawn, Sampler


@dataclass(frozen=True, slots=True)
class Pending:
    """A step under way. On CPU it is complete already."""

    plan: StepPlan
    drawn: Drawn | None  # aligned with the plan's rows that sample

    def result(self) -> StepResult:
        """Waits for the step's tokens."""
        tokens = iter(self.drawn.read() if self.drawn is not None else ())
        return StepResult(
            step=self.plan.step,
            sampled=tuple((next(tokens),) if row.sample else () for row in self.plan.rows),
            loaded=tuple(load.slot for load in self.plan.load),
        )


class Runner:
    """Needs nothing but plans: what they leave out is kept here from a row's admission to its release."""

    def __init__(
        self,
        model: LoadedModel,
        capacity: Capacity,
        adapters: HostWeights,
        attention: AttentionBackend = PagedAttention,
    ) -> None:
        self.capacity = capacity
        config = model.decoder.config
        self._model = model
        self._attention = attention
        self._cache = KvCache(config, capacity, model.dtype, model.device)
        self._rows = RowTable(capacity, self._cache.null_block, model.device)
        self._sampler = Sampler(capacity.max_num_seqs, config.vocab_size, model.device)
        self._pool = AdapterPool(lora_sites(config), config.num_layers, capacity, adapters, model.dtype, model.device)

    @torch.inference_mode()
    def launch(self, plan: StepPlan) -> Pending:
        """Starts a step. Plans must come in order; a plan's rows must fit the capacity."""
        for row in plan.release:
            self._rows.release(row)
            self._sampler.release(row)
        for load in plan.load:
            self._pool.load(load)
        for admission in plan.admit:
            self._rows.admit(admission)
            self._sampler.admit(admission)
        if not plan.rows:
            return Pending(plan, None)
        for step in plan.rows:
            if step.new_blocks:
                self._rows.append_blocks(step)
        self._cache.clear([block for step in plan.rows for block in step.new_blocks])
        return Pending(plan, self._compute(plan.rows))

    def _compute(self, steps: tuple[RowStep, ...]) -> Drawn | None:
        decoder = self._model.decoder
        inputs = build_input(
            steps, self._rows, self.capacity.block_size, decoder.config.sliding_window, self._model.device
        )
        hidden = decoder.hidden(self._model_input(inputs))  # [tokens, hidden]
        sampling = [i for i, step in enumerate(steps) if step.sample]
        if not sampling:
            return None
        last = self._tensor(inputs.last_tokens[sampling].tolist())
        rows = [steps[i].row for i in sampling]
        positions = [steps[i].start + steps[i].count for i in sampling]
        drawn = self._sampler.draw(decoder.logits(hidden[last]), rows, positions)
        self._rows.store_sampled(self._tensor(rows), self._tensor(positions), drawn.tokens)
        return drawn

    def _model_input(self, inputs: StepInput) -> ModelInput:
        return ModelInput(
            token_ids=inputs.token_ids,
            positions=inputs.positions,
            slots=inputs.slots,
            cache=self._cache.layers,
            attention=self._attention(inputs.attention, self._model.dtype),
            lora=self._pool.step(inputs.segments) if inputs.segments else None,
        )

    def _tensor(self, values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self._model.device)
