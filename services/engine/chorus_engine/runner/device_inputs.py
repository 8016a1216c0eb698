"""A plan's rows as numbers on the device: those of a decode step, and those of a step with prompt chunks.

Tokens are ordered by adapter, so that each adapter's tokens lie side by side: rows of one token first, by slot, then
chunks, by slot. Padding has position -1, no context, the scratch row and no adapter tile.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chorus_engine.core.plan import BASE_SLOT, RowStep
from chorus_engine.core.spec import Capacity
from chorus_engine.runner.graph_sizes import DECODE_TILE, PROMPT_PADDING, PROMPT_TILE, Layout, padded
from chorus_engine.runner.rows import RowTable
from chorus_engine.runner.staging import Array, Field, Staging

Ints = NDArray[np.int64]
Host = Mapping[str, Array]

STEPS_IN_FLIGHT = 4  # host buffers: two steps in flight, one being written, one to spare

I32, I64, F32 = np.dtype(np.int32), np.dtype(np.int64), np.dtype(np.float32)


@dataclass(frozen=True, slots=True)
class StepShape:
    """What the host knows of a step's numbers; the numbers themselves are in the staging's device views."""

    rows: tuple[int, ...]  # index in the plan of each row, in the order of their tokens
    order: tuple[int, ...]  # index in the plan of each sampling row, in the order of the sampler's fields
    layout: Layout
    lora_tiles: int  # tiles in use; 0 where no token has an adapter
    sample_tiles: int  # the same of the sampling rows' last tokens
    attention_tiles: int
    samples: int  # padded


class DeviceInputs:
    def __init__(
        self, capacity: Capacity, rows: RowTable, tile_queries: int, device: torch.device, runs: int = 1
    ) -> None:
        """runs: times that inputs are made a step."""
        self._rows = rows
        self._tile_queries = tile_queries
        sequences = padded(capacity.max_drawn, DECODE_TILE)
        tokens = padded(max(capacity.max_num_batched_tokens, sequences), PROMPT_PADDING)
        lora_tiles = 2 * sequences + tokens // PROMPT_TILE + 2
        attention_tiles = sequences + tokens // tile_queries + 1
        self.staging = Staging(
            (
                Field("sample_rows", I64, (sequences,)),
                Field("sample_positions", I64, (sequences,)),
                Field("seeds", I64, (sequences,)),
                Field("temperature", F32, (sequences,)),
                Field("rows", I32, (2 * sequences,)),  # singles with padding, then chunks
                Field("contexts", I32, (2 * sequences,)),
                Field("last_positions", I32, (sequences,)),
                Field("lora_tiles", I32, (lora_tiles, 3)),
                Field("starts", I32, (2 * sequences,)),  # from here on what decode steps need not send
                Field("counts", I32, (2 * sequences,)),
                Field("last_tokens", I64, (sequences,)),
                Field("sample_tiles", I32, (sequences, 3)),
                Field("attention_tiles", I32, (attention_tiles, 2)),
                Field("token_rows", I32, (tokens,)),
                Field("positions", I32, (tokens,)),
            ),
            device,
            STEPS_IN_FLIGHT * runs,
        )

    @property
    def device(self) -> Mapping[str, Tensor]:
        return self.staging.device

    def blank(self) -> None:
        """A step of padding alone, of any size: what graphs are captured on."""
        host = self.staging.begin()
        for field in host.values():
            field[...] = 0
        for name in ("rows", "token_rows", "sample_rows"):
            host[name][...] = self._rows.scratch
        for name in ("last_positions", "positions", "attention_tiles"):
            host[name][...] = -1
        self.staging.send()

    def decode(self, steps: tuple[RowStep, ...], bucket: int) -> StepShape:
        """Every row computes one token and samples. bucket: rows to pad to."""
        row = np.fromiter((step.row for step in steps), np.int64, len(steps))
        start = np.fromiter((step.start for step in steps), np.int64, len(steps))
        slot = self._rows.adapter_slots[row]
        order = np.argsort(slot, kind="stable")
        row, context, slot = row[order], start[order] + 1, slot[order]
        host = self.staging.begin()
        fill(host["rows"], row, bucket, self._rows.scratch)
        fill(host["contexts"], context, bucket, 0)
        fill(host["last_positions"], context - 1, bucket, -1)
        self._fill_samples(host, row, context, bucket)
        tiles = 0
        if slot[-1] != BASE_SLOT:
            tiles = fill_tiles(host["lora_tiles"], lora_tiles(slot, np.arange(1, len(slot) + 1), DECODE_TILE))
        self.staging.send(until="starts")
        rows = tuple(order.tolist())
        return StepShape(rows, rows, Layout(bucket, bucket), tiles, 0, 0, bucket)

    def mixed(self, steps: tuple[RowStep, ...], layout: Layout) -> StepShape:
        """Any rows, those of one token first."""
        row = np.fromiter((step.row for step in steps), np.int64, len(steps))
        start = np.fromiter((step.start for step in steps), np.int64, len(steps))
        count = np.fromiter((step.count for step in steps), np.int64, len(steps))
        slot = self._rows.adapter_slots[row]
        order = np.lexsort((slot, count > 1))
        row, start, count, slot = row[order], start[order], count[order], slot[order]
        end = np.cumsum(count)
        host = self.staging.begin()
        place = np.arange(len(row))
        place[count > 1] += layout.singles - np.count_nonzero(count == 1)
        sequences = int(layout.singles + np.count_nonzero(count > 1))
        spread(host["rows"], row, place, sequences, self._rows.scratch)
        spread(host["contexts"], start + count, place, sequences, 0)
        spread(host["starts"], end - count, place, sequences, 0)
        spread(host["counts"], count, place, sequences, 0)
        tokens = layout.tokens
        fill(host["token_rows"], np.repeat(row, count), tokens, self._rows.scratch)
        fill(host["positions"], np.arange(end[-1]) + np.repeat(start - end + count, count), tokens, -1)
        tiles = 0
        if slot.max() != BASE_SLOT:
            tiles = fill_tiles(host["lora_tiles"], lora_tiles(slot, end, layout.lora_tile))
        attention = attention_tiles(count, start, self._tile_queries)
        attention[:, 0] = place[attention[:, 0]]
        host["attention_tiles"][: len(attention)] = attention
        host["attention_tiles"][len(attention) :] = -1
        sampling = np.flatnonzero(np.fromiter((step.sample for step in steps), np.bool_, len(steps))[order])
        samples = padded(len(sampling), DECODE_TILE) if len(sampling) else 0
        fill(host["last_tokens"], end[sampling] - 1, samples, 0)
        sample_tiles = 0
        if len(sampling) and slot[sampling].max() != BASE_SLOT:
            ends = np.arange(1, len(sampling) + 1)
            sample_tiles = fill_tiles(host["sample_tiles"], lora_tiles(slot[sampling], ends, DECODE_TILE))
        self._fill_samples(host, row[sampling], (start + count)[sampling], samples)
        self.staging.send()
        return StepShape(
            rows=tuple(order.tolist()),
            order=tuple(order[sampling].tolist()),
            layout=layout,
            lora_tiles=tiles,
            sample_tiles=sample_tiles,
            attention_tiles=len(attention),
            samples=samples,
        )

    def _fill_samples(self, host: Host, row: Ints, position: Ints, size: int) -> None:
        fill(host["sample_rows"], row, size, self._rows.scratch)
        fill(host["sample_positions"], position, size, 0)
        fill(host["temperature"], self._rows.temperature[row], size, 0)
        fill(host["seeds"], self._rows.seeds[row], size, 0)


def fill(field: Array, values: Array, size: int, padding: int) -> None:
    field[: len(values)] = values
    field[len(values) : size] = padding


def spread(field: Array, values: Array, places: Ints, size: int, padding: int) -> None:
    field[:size] = padding
    field[places] = values


def fill_tiles(field: Array, tiles: Ints) -> int:
    """Past the tiles in use all are empty, as far as a graph may look."""
    field[: len(tiles)] = tiles
    field[len(tiles) :] = 0
    return len(tiles)


def lora_tiles(slot: Ints, end: Ints, size: int) -> Ints:
    """(first token, past the last, slot) of pieces of at most `size` tokens, each within a run of one adapter's rows.

    slot, end: [rows] in the order of the tokens; end is past each row's last token. The result is [tiles, 3].
    """
    last = np.append(np.flatnonzero(slot[1:] != slot[:-1]), len(slot) - 1)  # each run's last row
    stop = end[last]
    begin = np.concatenate(([0], stop[:-1]))
    pieces = -(-(stop - begin) // size)
    run = np.repeat(np.arange(len(last)), pieces)
    piece = np.arange(len(run)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    first = begin[run] + piece * size
    return np.stack((first, np.minimum(first + size, stop[run]), slot[last][run]), axis=1)


def attention_tiles(count: Ints, start: Ints, size: int) -> Ints:
    """(sequence, first query inside its chunk) of the chunks of more than one token, those of most keys first.

    count, start: [sequences], tokens of this step and before it. The result is [tiles, 2].
    """
    sequence = np.flatnonzero(count > 1)
    pieces = -(-count[sequence] // size)
    first = (np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)) * size
    sequence = np.repeat(sequence, pieces)
    order = np.argsort(-(start[sequence] + first), kind="stable")
    return np.stack((sequence[order], first[order]), axis=1)
