"""The CPU's way through the model: one eager call a step, every tensor made for it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from chorus_engine.core.plan import BASE_SLOT, RowStep
from chorus_engine.core.spec import Capacity
from chorus_engine.model import LoadedModel, ModelInput, Wanted
from chorus_engine.model.attention import AttentionBackend
from chorus_engine.model.lora import LoraStep
from chorus_engine.runner.host_pool import HostPool
from chorus_engine.runner.inputs import build_input
from chorus_engine.runner.kv_cache import KvCache
from chorus_engine.runner.network import Computed, Whole
from chorus_engine.runner.rows import RowTable
from chorus_kernels.lora import Segment


class HostNetwork:
    def __init__(
        self,
        model: LoadedModel,
        capacity: Capacity,
        cache: KvCache,
        rows: RowTable,
        pool: HostPool,
        attention: AttentionBackend,
    ) -> None:
        self._model = model
        self._block_size = capacity.block_size
        self._cache = cache
        self._rows = rows
        self._pool = pool
        self._attention = attention

    def warm_up(self) -> None:
        """There is nothing to prepare."""

    @property
    def sample_sizes(self) -> tuple[int, ...]:
        return ()

    @property
    def graph_bytes(self) -> int:
        return 0

    def clear(self, blocks: Sequence[int]) -> None:
        """Padding in them is masked after it was read, and masked values must be finite."""
        self._cache.clear(blocks)

    def run(self, steps: tuple[RowStep, ...], *, whole: bool = False) -> Computed | None:
        decoder, device = self._model.decoder, self._model.device
        inputs = build_input(steps, self._rows, self._block_size, decoder.config.sliding_window, device)
        sampling = len(inputs.sampling) == len(inputs.token_ids)
        everyone = sampling or whole
        lora = self._pool.step(inputs.segments)
        last_lora = lora if sampling else self._pool.step(inputs.last_segments)
        hidden = decoder.hidden(
            ModelInput(
                token_ids=inputs.token_ids,
                positions=inputs.positions,
                slots=inputs.slots,
                cache=self._cache.layers,
                attention=self._attention(inputs.attention, self._model.dtype),
                lora=lora,
                wanted=None if everyone else Wanted(inputs.last_tokens, last_lora),
            )
        )
        if hidden is None:
            return None
        rows = [steps[i].row for i in inputs.sampling]
        normed = decoder.normed(hidden)
        return Computed(
            normed=normed[inputs.last_tokens] if whole and not sampling else normed,
            sampling=inputs.sampling,
            rows=self._tensor(rows),
            positions=self._tensor([steps[i].start + steps[i].count for i in inputs.sampling]),
            temperature=torch.from_numpy(self._rows.temperature[rows]).to(device),
            seeds=torch.from_numpy(self._rows.seeds[rows]).to(device),
            lora=last_lora,
            whole=Whole(normed, inputs.order, tuple(steps[i].count for i in inputs.order)) if whole else None,
        )

    def head_lora(self, row: int, tokens: int) -> LoraStep | None:
        slot = int(self._rows.adapter_slots[row])
        return None if slot == BASE_SLOT else self._pool.step((Segment(0, tokens, slot),))

    def _tensor(self, values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self._model.device)
