"""CUDA's way through the model: steps that decode or have few prompt tokens replay graphs, others are launched."""

import logging
import time
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from chorus_engine.core.plan import BASE_SLOT, RowStep
from chorus_engine.core.spec import Capacity
from chorus_engine.model import LoadedModel, ModelInput, Wanted
from chorus_engine.model.decoder import Hidden
from chorus_engine.model.lora import LoraStep
from chorus_engine.runner.device_inputs import DeviceInputs, StepShape, lora_tiles
from chorus_engine.runner.device_pool import DevicePool
from chorus_engine.runner.graph_sizes import (
    DECODE_TILE,
    FEW_TOKENS,
    DecodeSizes,
    GraphSize,
    Layout,
    PromptSizes,
    padded,
)
from chorus_engine.runner.graphs import StepGraphs
from chorus_engine.runner.kv_cache import KvCache
from chorus_engine.runner.network import Computed, Whole
from chorus_engine.runner.rows import RowTable
from chorus_engine.runner.transfer import upload
from chorus_kernels.lora import Tiles
from chorus_kernels.paged_attention import PagedBatch, new_arrivals, paged_attention, tile_queries
from chorus_kernels.token_inputs import token_inputs

log = logging.getLogger(__name__)


class DeviceNetwork:
    def __init__(
        self,
        model: LoadedModel,
        capacity: Capacity,
        cache: KvCache,
        rows: RowTable,
        pool: DevicePool,
        *,
        eager: bool,
        runs: int = 1,
    ) -> None:
        """runs: how often a step goes through the model."""
        self._model = model
        self._capacity = capacity
        self._cache = cache
        self._rows = rows
        self._pool = pool
        config = model.decoder.config
        self._window = config.sliding_window
        self._tile_queries = tile_queries(model.dtype, config.num_heads // config.num_kv_heads)
        self._inputs = DeviceInputs(capacity, rows, self._tile_queries, model.device, runs)
        self._arrivals = new_arrivals(model.device)
        self._starts = torch.arange(capacity.max_drawn + DECODE_TILE, dtype=torch.int32, device=model.device)
        self._ones = torch.ones_like(self._starts)
        lora = capacity.max_adapters > 0
        self._decodes = DecodeSizes(capacity.max_drawn, lora=lora)
        self._prompts = PromptSizes(capacity.max_num_batched_tokens, capacity.max_drawn, self._tile_queries, lora=lora)
        self._graphs = StepGraphs(self._graphed)
        self._eager = eager
        self.graph_bytes = 0

    def warm_up(self) -> None:
        """Compiles what prompt steps launch, then captures the graphs."""
        began = time.monotonic()
        self._warm_up_prompts()
        free = self._free_bytes()
        self._inputs.blank()
        if not self._eager:
            self._graphs.capture((*self._decodes.all(), *self._prompts.all()))
        self.graph_bytes = free - self._free_bytes()
        log.info("warm", extra={"seconds": round(time.monotonic() - began, 2), "graph_bytes": self.graph_bytes})

    @property
    def sample_sizes(self) -> tuple[int, ...]:
        limit = padded(self._capacity.max_drawn, DECODE_TILE)
        return tuple(sorted({*self._decodes.rows, *range(DECODE_TILE, limit + 1, DECODE_TILE)}))

    def _warm_up_prompts(self) -> None:
        """Prompts of padding's row, with and without an adapter; what they write into the cache nobody reads."""
        longest = min(self._capacity.max_num_batched_tokens, self._capacity.max_model_len)
        for slot in (BASE_SLOT, 0) if self._capacity.max_adapters else (BASE_SLOT,):
            self._rows.adapter_slots[self._rows.scratch] = slot
            for count in sorted({min(longest, 2), min(longest, 300), longest}):
                chunk = RowStep(self._rows.scratch, 0, count, (), True)
                one = RowStep(self._rows.scratch, 0, 1, (), False)
                self.run((one, chunk) if count < longest else (chunk,))
        if self._capacity.vocab_pages:
            self._warm_up_outside()
        self._rows.adapter_slots[self._rows.scratch] = BASE_SLOT

    def _warm_up_outside(self) -> None:
        """What steps launch besides when an adapter has modules outside the layers. The scratch row has slot 0."""
        computed = self._run_mixed((RowStep(self._rows.scratch, 0, 2, (), True),), outside=True)
        assert computed is not None, "the last token is wanted"
        table = torch.zeros(1, 3, dtype=torch.int32, device=self._model.device)
        for rows in self.sample_sizes:
            normed = computed.normed.new_zeros(rows, computed.normed.shape[1])
            self._model.decoder.logits(normed, self._lora(table, DECODE_TILE, rows, outside=True))

    def _free_bytes(self) -> int:
        if self._model.device.type != "cuda":
            return 0
        torch.cuda.synchronize(self._model.device)
        torch.cuda.empty_cache()
        return int(torch.cuda.mem_get_info(self._model.device)[0])

    def clear(self, blocks: Sequence[int]) -> None:
        """Not needed: the kernels read nothing past a context."""

    def run(self, steps: tuple[RowStep, ...], *, whole: bool = False) -> Computed | None:
        outside = self._pool.reaches_outside(int(self._rows.adapter_slots[step.row]) for step in steps)
        if all(step.count == 1 and step.sample for step in steps):
            size = self._decodes.holding(len(steps), 0)
            if size is not None:
                return self._run_decode(steps, size.tokens, outside=outside, whole=whole)
        return self._run_mixed(steps, outside=outside, whole=whole)

    def _run_decode(self, steps: tuple[RowStep, ...], bucket: int, *, outside: bool, whole: bool) -> Computed:
        shape = self._inputs.decode(steps, bucket)
        size = self._decodes.holding(len(steps), shape.lora_tiles)
        assert size is not None
        lora = None
        if outside:
            table = self._inputs.device["lora_tiles"][: size.tiles]
            lora = self._lora(table, DECODE_TILE, size.tokens, outside=True)
        normed = self._decode(size, lora) if outside else self._graphs.run(size)
        return self._computed(normed, shape, lora, _whole(normed, shape, steps) if whole else None)

    def _run_mixed(self, steps: tuple[RowStep, ...], *, outside: bool, whole: bool = False) -> Computed | None:
        tokens, singles = sum(step.count for step in steps), sum(step.count == 1 for step in steps)
        adapters = any(self._rows.adapter_slots[step.row] != BASE_SLOT for step in steps)
        shape = self._inputs.mixed(steps, self._prompts.layout(tokens, singles, lora=adapters))
        if not outside:
            size = self._prompts.holding(shape.layout, shape.lora_tiles, shape.attention_tiles)
            if size is not None:
                return self._last(self._graphs.run(size), shape, None, steps if whole else ())
        sample_tiles = self._inputs.device["sample_tiles"][: shape.sample_tiles]
        sample_lora = self._lora(sample_tiles, DECODE_TILE, shape.samples, outside=outside)
        hidden = self._mixed(shape, sample_lora, outside=outside, everyone=whole)
        if hidden is None:
            return None
        normed, lora = self._model.decoder.normed(hidden), sample_lora if outside else None
        return self._last(normed, shape, lora, steps) if whole else self._computed(normed, shape, lora)

    def _last(
        self, normed: Tensor, shape: StepShape, lora: LoraStep | None, whole: tuple[RowStep, ...]
    ) -> Computed | None:
        """normed: of all tokens. Of each row that samples, the last one; all too, where `whole` has the steps."""
        if not shape.samples and not whole:
            return None
        last = normed.index_select(0, self._inputs.device["last_tokens"][: shape.samples])
        return self._computed(last, shape, lora, _whole(normed, shape, whole) if whole else None)

    def head_lora(self, row: int, tokens: int) -> LoraStep | None:
        slot = int(self._rows.adapter_slots[row])
        if not self._pool.reaches_outside((slot,)):
            return None
        tiles = lora_tiles(np.array([slot]), np.array([tokens]), DECODE_TILE).astype(np.int32)
        table = upload(torch.from_numpy(tiles), device=self._model.device)
        return self._lora(table, DECODE_TILE, tokens, outside=True)

    def _computed(
        self, normed: Tensor, shape: StepShape, lora: LoraStep | None = None, whole: Whole | None = None
    ) -> Computed:
        fields, count = self._inputs.device, shape.samples
        return Computed(
            normed=normed,
            sampling=shape.order,
            rows=fields["sample_rows"][:count],
            positions=fields["sample_positions"][:count],
            temperature=fields["temperature"][:count],
            seeds=fields["seeds"][:count],
            lora=lora,
            whole=whole,
        )

    def _graphed(self, size: GraphSize) -> Tensor:
        """[tokens, hidden], normed. What a graph is captured of: adapters with modules outside the layers have none."""
        table = self._inputs.device["lora_tiles"][: size.tiles]
        if not size.queries:
            return self._decode(size, self._lora(table, DECODE_TILE, size.tokens))
        layout = Layout(size.tokens, size.singles)
        hidden = self._tokens(layout, size.queries, self._lora(table, layout.lora_tile, size.tokens))
        assert hidden is not None, "every token is wanted"
        return self._model.decoder.normed(hidden)

    def _decode(self, size: GraphSize, lora: LoraStep | None) -> Tensor:
        """[rows, hidden], normed."""
        fields, rows = self._inputs.device, size.tokens
        batch = self._batch(self._starts, self._ones, singles=rows, tiles=None)
        hidden = self._hidden(fields["rows"][:rows], fields["last_positions"][:rows], batch, lora)
        assert hidden is not None, "every token is wanted"
        return self._model.decoder.normed(hidden)

    def _mixed(self, shape: StepShape, sample_lora: LoraStep | None, *, outside: bool, everyone: bool) -> Hidden | None:
        fields, layout = self._inputs.device, shape.layout
        lora = self._lora(fields["lora_tiles"][: shape.lora_tiles], layout.lora_tile, layout.tokens, outside=outside)
        wanted = None if everyone else Wanted(fields["last_tokens"][: shape.samples], sample_lora)
        return self._tokens(layout, shape.attention_tiles, lora, wanted)

    def _tokens(
        self, layout: Layout, queries: int, lora: LoraStep | None, wanted: Wanted | None = None
    ) -> Hidden | None:
        """Singles, then prompt chunks. queries: tiles of the chunks' queries."""
        fields = self._inputs.device
        tiles = fields["attention_tiles"][:queries] if queries else None
        batch = self._batch(fields["starts"], fields["counts"], singles=layout.singles, tiles=tiles)
        rows, positions = fields["token_rows"][: layout.tokens], fields["positions"][: layout.tokens]
        return self._hidden(rows, positions, batch, lora, wanted)

    def _batch(self, starts: Tensor, counts: Tensor, *, singles: int, tiles: Tensor | None) -> PagedBatch:
        fields = self._inputs.device
        return PagedBatch(
            rows=fields["rows"],
            starts=starts,
            counts=counts,
            contexts=fields["contexts"],
            block_tables=self._rows.device_blocks,
            arrivals=self._arrivals,
            block_size=self._capacity.block_size,
            singles=singles,
            window=self._window,
            tiles=tiles,
            tile_queries=self._tile_queries,
        )

    def _lora(self, table: Tensor, tile: int, tokens: int, *, outside: bool = False) -> LoraStep | None:
        if not len(table):
            return None
        return self._pool.step(Tiles(table, tile), beside=tokens <= FEW_TOKENS, outside=outside)

    def _hidden(
        self,
        rows: Tensor,
        positions: Tensor,
        batch: PagedBatch,
        lora: LoraStep | None,
        wanted: Wanted | None = None,
    ) -> Hidden | None:
        ids, places, slots = token_inputs(
            rows, positions, self._rows.token_ids, self._rows.device_blocks, self._capacity.block_size
        )
        return self._model.decoder.hidden(
            ModelInput(
                token_ids=ids,
                positions=places,
                slots=slots,
                cache=self._cache.layers,
                attention=partial(_attend, batch),
                lora=lora,
                wanted=wanted,
            )
        )


def _whole(normed: Tensor, shape: StepShape, steps: tuple[RowStep, ...]) -> Whole:
    return Whole(normed, shape.rows, tuple(steps[index].count for index in shape.rows))


def _attend(batch: PagedBatch, query: Tensor, cache: Tensor, scale: float) -> Tensor:
    return paged_attention(query, cache, batch, scale)
