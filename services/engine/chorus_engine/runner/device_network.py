"""CUDA's way through the model: steps that decode or have few prompt tokens replay graphs, others are launched."""

import logging
import time
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from chorus_engine.core.plan import BASE_SLOT, RowStep
from chorus_engine.core.spec import Capacity
from chorus_engine.model import LoadedModel, ModelInput, Wanted
from chorus_engine.model.decoder import Hidden
from chorus_engine.model.lora import LoraStep
from chorus_engine.runner.device_inputs import DeviceInputs, StepShape
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
from chorus_engine.runner.network import Computed
from chorus_engine.runner.rows import RowTable
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
    ) -> None:
        self._model = model
        self._capacity = capacity
        self._cache = cache
        self._rows = rows
        self._pool = pool
        config = model.decoder.config
        self._window = config.sliding_window
        self._tile_queries = tile_queries(model.dtype, config.num_heads // config.num_kv_heads)
        self._inputs = DeviceInputs(capacity, rows, self._tile_queries, model.device)
        self._arrivals = new_arrivals(model.device)
        self._starts = torch.arange(capacity.max_num_seqs + DECODE_TILE, dtype=torch.int32, device=model.device)
        self._ones = torch.ones_like(self._starts)
        lora = capacity.max_adapters > 0
        self._decodes = DecodeSizes(capacity.max_num_seqs, lora=lora)
        self._prompts = PromptSizes(
            capacity.max_num_batched_tokens, capacity.max_num_seqs, self._tile_queries, lora=lora
        )
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
        limit = padded(self._capacity.max_num_seqs, DECODE_TILE)
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

    def run(self, steps: tuple[RowStep, ...]) -> Computed | None:
        outside = self._pool.reaches_outside(int(self._rows.adapter_slots[step.row]) for step in steps)
        if all(step.count == 1 and step.sample for step in steps):
            size = self._decodes.holding(len(steps), 0)
            if size is not None:
                return self._run_decode(steps, size.tokens, outside=outside)
        return self._run_mixed(steps, outside=outside)

    def _run_decode(self, steps: tuple[RowStep, ...], bucket: int, *, outside: bool) -> Computed:
        shape = self._inputs.decode(steps, bucket)
        size = self._decodes.holding(len(steps), shape.lora_tiles)
        assert size is not None
        if not outside:
            return self._computed(self._graphs.run(size), shape)
        lora = self._lora(self._inputs.device["lora_tiles"][: size.tiles], DECODE_TILE, size.tokens, outside=True)
        return self._computed(self._decode(size, lora), shape, lora)

    def _run_mixed(self, steps: tuple[RowStep, ...], *, outside: bool) -> Computed | None:
        tokens, singles = sum(step.count for step in steps), sum(step.count == 1 for step in steps)
        lora = any(self._rows.adapter_slots[step.row] != BASE_SLOT for step in steps)
        shape = self._inputs.mixed(steps, self._prompts.layout(tokens, singles, lora=lora))
        if not outside:
            size = self._prompts.holding(shape.layout, shape.lora_tiles, shape.attention_tiles)
            if size is not None:
                return self._last(self._graphs.run(size), shape)
        sample_tiles = self._inputs.device["sample_tiles"][: shape.sample_tiles]
        sample_lora = self._lora(sample_tiles, DECODE_TILE, shape.samples, outside=outside)
        hidden = self._mixed(shape, sample_lora, outside=outside)
        if hidden is None:
            return None
        return self._computed(self._model.decoder.normed(hidden), shape, sample_lora if outside else None)

    def _last(self, normed: Tensor, shape: StepShape) -> Computed | None:
        """normed: of all tokens. Of each row that samples, the last one."""
        if not shape.samples:
            return None
        return self._computed(normed.index_select(0, self._inputs.device["last_tokens"][: shape.samples]), shape)

    def _computed(self, normed: Tensor, shape: StepShape, lora: LoraStep | None = None) -> Computed:
        fields, count = self._inputs.device, shape.samples
        return Computed(
            normed=normed,
            sampling=shape.order,
            rows=fields["sample_rows"][:count],
            positions=fields["sample_positions"][:count],
            temperature=fields["temperature"][:count],
            seeds=fields["seeds"][:count],
            lora=lora,
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

    def _mixed(self, shape: StepShape, sample_lora: LoraStep | None, *, outside: bool) -> Hidden | None:
        fields, layout = self._inputs.device, shape.layout
        lora = self._lora(fields["lora_tiles"][: shape.lora_tiles], layout.lora_tile, layout.tokens, outside=outside)
        wanted = Wanted(fields["last_tokens"][: shape.samples], sample_lora)
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


def _attend(batch: PagedBatch, query: Tensor, cache: Tensor, scale: float) -> Tensor:
    return paged_attention(query, cache, batch, scale)
