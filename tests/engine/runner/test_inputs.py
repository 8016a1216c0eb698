from dataclasses import dataclass

import numpy as np
import torch

from chorus_engine.core.plan import BASE_SLOT, Admission, RowStep
from chorus_engine.core.request import SamplingParams
from chorus_engine.core.spec import Capacity
from chorus_engine.runner.inputs import StepInput, build_input
from chorus_engine.runner.rows import RowTable
from chorus_kernels.lora import Segment

CAPACITY = Capacity(
    max_model_len=64,
    max_num_seqs=8,
    max_num_batched_tokens=64,
    block_size=4,
    num_blocks=50,
    max_adapters=4,
    adapter_page_rows=8,
    adapter_pages=4,
)
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Row:
    slot: int
    start: int
    count: int
    sample: bool = True


def build(rows: list[Row]) -> StepInput:
    """Row i has tokens 100 * i + position and blocks 6 * i, 6 * i + 1, ..."""
    table = RowTable(CAPACITY, null_block=50, device=CPU)
    steps = []
    for i, row in enumerate(rows):
        end = row.start + row.count
        table.admit(Admission(i, "", tuple(range(100 * i, 100 * i + end)), end, row.slot, SamplingParams(1)))
        step = RowStep(i, row.start, row.count, tuple(range(6 * i, 6 * i - (-end // 4))), row.sample)
        table.append_blocks(step)
        steps.append(step)
    return build_input(tuple(steps), table, CAPACITY.block_size, None, CPU)


def test_tokens_positions_and_slots_of_a_chunk() -> None:
    inputs = build([Row(BASE_SLOT, 3, 4)])
    assert inputs.token_ids.tolist() == [3, 4, 5, 6]
    assert inputs.positions.tolist() == [3, 4, 5, 6]
    assert inputs.slots.tolist() == [3, 4, 5, 6]
    assert (inputs.attention.counts, inputs.attention.contexts) == ((4,), (7,))
    assert inputs.attention.block_tables.tolist() == [[0, 1]]
    assert inputs.segments == ()


def test_order_serves_attention_and_adapters() -> None:
    rows = [
        Row(BASE_SLOT, 0, 3),  # base chunk: last
        Row(2, 5, 1),
        Row(1, 0, 2),  # adapters' chunks after their single tokens
        Row(BASE_SLOT, 4, 1),  # base row of one token: first
        Row(0, 6, 1),
        Row(2, 2, 2),
        Row(2, 9, 1),
    ]
    inputs = build(rows)
    assert inputs.token_ids.tolist() == [304, 406, 105, 609, 200, 201, 502, 503, 0, 1, 2]
    assert inputs.attention.counts == (1, 1, 1, 1, 2, 2, 3)
    assert inputs.attention.contexts == (5, 7, 6, 10, 2, 4, 3)
    assert inputs.segments == (Segment(1, 2, 0), Segment(2, 4, 2), Segment(4, 6, 1), Segment(6, 8, 2))
    assert inputs.sampling == (3, 4, 1, 6, 2, 5, 0)  # all of them, in the order of their tokens
    assert inputs.token_ids[inputs.last_tokens].tolist() == [304, 406, 105, 609, 201, 503, 2]
    assert inputs.last_segments == (Segment(1, 2, 0), Segment(2, 4, 2), Segment(4, 5, 1), Segment(5, 6, 2))


def test_only_rows_that_sample_have_a_last_token() -> None:
    inputs = build([Row(1, 0, 3, sample=False), Row(BASE_SLOT, 4, 1), Row(1, 2, 2)])
    assert inputs.sampling == (1, 2)
    assert inputs.token_ids[inputs.last_tokens].tolist() == [104, 203]
    assert inputs.last_segments == (Segment(1, 2, 1),)


def test_one_run_over_the_border_of_rows_and_chunks_is_one_segment() -> None:
    inputs = build([Row(3, 0, 5), Row(3, 7, 1)])
    assert inputs.segments == (Segment(0, 6, 3),)


def test_tables_are_padded_with_the_null_block() -> None:
    inputs = build([Row(BASE_SLOT, 0, 1), Row(BASE_SLOT, 8, 1)])
    assert inputs.attention.block_tables.tolist() == [[0, 50, 50], [6, 7, 8]]


def test_released_rows_forget_their_blocks() -> None:
    table = RowTable(CAPACITY, null_block=50, device=CPU)
    table.append_blocks(RowStep(2, 0, 9, (4, 5, 6), False))
    table.append_blocks(RowStep(2, 9, 4, (7,), False))
    assert table.blocks[2, :5].tolist() == [4, 5, 6, 7, 50]
    table.release(2)
    assert np.all(table.blocks == 50)
