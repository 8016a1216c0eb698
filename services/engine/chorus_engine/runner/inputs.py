"""A plan's rows as the tensors of one model call.

Tokens are ordered so that attention finds rows of one token first and adapters find theirs in one range:
base rows of one token, adapters' rows of one token by slot, adapters' chunks by slot, base chunks.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chorus_engine.core.plan import BASE_SLOT, RowStep
from chorus_engine.runner.rows import RowTable
from chorus_kernels.lora import Segment
from chorus_kernels.paged_attention import AttentionBatch

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class StepInput:
    token_ids: Tensor  # [tokens] int32
    positions: Tensor  # [tokens] int64
    slots: Tensor  # [tokens] int64
    attention: AttentionBatch
    segments: tuple[Segment, ...]
    order: tuple[int, ...]  # index in the plan of each row, in the order of their tokens
    sampling: tuple[int, ...]  # likewise of each row that samples
    last_tokens: Tensor  # [sampling rows] int64
    last_segments: tuple[Segment, ...]  # of the last tokens


def build_input(
    steps: tuple[RowStep, ...], rows: RowTable, block_size: int, window: int | None, device: torch.device
) -> StepInput:
    """steps: at least one."""
    row = np.array([step.row for step in steps])
    start = np.array([step.start for step in steps])
    count = np.array([step.count for step in steps])
    order = _order(count, rows.adapter_slots[row])
    row, start, count = row[order], start[order], count[order]
    end = np.cumsum(count)  # [rows], past each row's tokens
    token_row = np.repeat(row, count)  # [tokens]
    positions = np.arange(end[-1]) + np.repeat(start - end + count, count)  # [tokens]
    blocks = rows.blocks[token_row, positions // block_size]
    on_device = torch.from_numpy(np.stack((token_row, positions, blocks * block_size + positions % block_size)))
    device_row, device_positions, slots = on_device.to(device, non_blocking=True)
    context = start + count
    sampling = np.flatnonzero(np.array([step.sample for step in steps])[order])
    return StepInput(
        token_ids=rows.token_ids[device_row, device_positions],
        positions=device_positions,
        slots=slots,
        attention=AttentionBatch(
            counts=tuple(count.tolist()),
            contexts=tuple(context.tolist()),
            block_tables=torch.from_numpy(rows.blocks[row, : -(-context.max() // block_size)]).to(device),
            block_size=block_size,
            window=window,
        ),
        segments=_segments(rows.adapter_slots[row], end),
        order=tuple(order.tolist()),
        sampling=tuple(order[sampling].tolist()),
        last_tokens=torch.from_numpy(end[sampling] - 1).to(device),
        last_segments=_segments(rows.adapter_slots[row[sampling]], np.arange(1, len(sampling) + 1)),
    )


def _order(count: Ints, slot: Ints) -> Ints:
    chunk = count > 1
    base_last = np.where(chunk & (slot == BASE_SLOT), np.iinfo(np.int64).max, slot)
    return np.lexsort((base_last, chunk))


def _segments(slot: Ints, end: Ints) -> tuple[Segment, ...]:
    """Runs of rows with the same adapter; slot and end are in the order of the tokens."""
    if not len(slot):
        return ()
    last = np.append(np.flatnonzero(slot[1:] != slot[:-1]), len(slot) - 1)  # each run's last row
    stops = end[last].tolist()
    runs = zip([0, *stops], stops, slot[last].tolist(), strict=False)
    return tuple(Segment(start, stop, slot) for start, stop, slot in runs if slot != BASE_SLOT)
