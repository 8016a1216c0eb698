import numpy as np
import pytest
import torch

from chorus_engine.core.plan import BASE_SLOT, Admission, RowStep
from chorus_engine.core.request import SamplingParams
from chorus_engine.core.spec import Capacity
from chorus_engine.runner.device_inputs import DeviceInputs, attention_tiles, lora_tiles
from chorus_engine.runner.graph_sizes import Layout
from chorus_engine.runner.rows import RowTable

CPU = torch.device("cpu")
CAPACITY = Capacity(
    max_model_len=512,
    max_num_seqs=12,
    max_num_batched_tokens=400,
    block_size=16,
    num_blocks=500,
    max_adapters=4,
    adapter_page_rows=8,
    adapter_pages=4,
    max_lora_rank=8,
)
SCRATCH = CAPACITY.max_num_seqs


def table(slots: list[int]) -> RowTable:
    rows = RowTable(CAPACITY, null_block=500, device=CPU)
    for row, slot in enumerate(slots):
        rows.admit(Admission(row, "", (1,), 1, slot, SamplingParams(9, temperature=row / 10, seed=row)))
    return rows


def values(inputs: DeviceInputs, name: str, count: int) -> list[object]:
    found: list[object] = inputs.device[name][:count].tolist()
    return found


def test_decoding_rows_are_ordered_by_adapter_and_padded() -> None:
    inputs = DeviceInputs(CAPACITY, table([2, BASE_SLOT, 0, 2]), 32, CPU)
    steps = tuple(RowStep(row, 10 + row, 1, (), True) for row in (3, 0, 1, 2))

    shape = inputs.decode(steps, bucket=8)

    assert values(inputs, "rows", 8) == [1, 2, 3, 0, *[SCRATCH] * 4]
    assert shape.order == (2, 3, 0, 1)  # where each of these stands in the plan
    assert values(inputs, "contexts", 8) == [12, 13, 14, 11, 0, 0, 0, 0]
    assert values(inputs, "last_positions", 8) == [11, 12, 13, 10, -1, -1, -1, -1]
    assert values(inputs, "sample_positions", 8) == [12, 13, 14, 11, 0, 0, 0, 0]
    assert values(inputs, "temperature", 5) == pytest.approx([0.1, 0.2, 0.3, 0.0, 0.0])
    assert shape.lora_tiles == 3
    assert values(inputs, "lora_tiles", 4) == [[0, 1, BASE_SLOT], [1, 2, 0], [2, 4, 2], [0, 0, 0]]


def test_rows_of_the_base_alone_have_no_tiles() -> None:
    inputs = DeviceInputs(CAPACITY, table([BASE_SLOT, BASE_SLOT]), 32, CPU)
    assert inputs.decode((RowStep(0, 5, 1, (), True), RowStep(1, 5, 1, (), True)), bucket=2).lora_tiles == 0


def test_no_tile_of_an_earlier_step_is_left_for_a_graph_to_see() -> None:
    inputs = DeviceInputs(CAPACITY, table([0, 1, 2, 3, 0]), 32, CPU)
    inputs.mixed(tuple(RowStep(row, 0, 70, (), True) for row in range(5)), Layout(384, 0))
    for _ in range(8):  # every host buffer in turn
        shape = inputs.decode((RowStep(0, 70, 1, (), True),), bucket=1)
        tiles = np.array(inputs.device["lora_tiles"].tolist())
        assert tiles[: shape.lora_tiles].tolist() == [[0, 1, 0]]
        assert not tiles[shape.lora_tiles :].any()


def test_blank_inputs_reach_nothing() -> None:
    inputs = DeviceInputs(CAPACITY, table([0, 1]), 32, CPU)
    inputs.mixed((RowStep(0, 0, 100, (), True), RowStep(1, 0, 200, (), True)), Layout(320, 0))
    inputs.blank()
    assert not inputs.device["lora_tiles"].any()
    assert not inputs.device["contexts"].any()
    assert set(inputs.device["rows"].tolist()) == {SCRATCH}
    assert set(inputs.device["last_positions"].tolist()) == {-1}


def test_chunks_stand_behind_single_tokens() -> None:
    inputs = DeviceInputs(CAPACITY, table([1, BASE_SLOT, 1, 0]), 32, CPU)
    steps = (
        RowStep(0, 0, 70, (), False),
        RowStep(1, 4, 1, (), True),
        RowStep(2, 9, 1, (), True),
        RowStep(3, 32, 3, (), True),
    )

    shape = inputs.mixed(steps, Layout(384, 2))

    assert values(inputs, "rows", 4) == [1, 2, 3, 0]
    assert values(inputs, "starts", 4) == [0, 1, 2, 5]
    assert values(inputs, "counts", 4) == [1, 1, 3, 70]
    assert values(inputs, "contexts", 4) == [5, 10, 35, 70]
    assert values(inputs, "positions", 6) == [4, 9, 32, 33, 34, 0]
    assert values(inputs, "positions", 384)[75:] == [-1] * 309
    assert values(inputs, "lora_tiles", shape.lora_tiles) == [[0, 1, BASE_SLOT], [1, 2, 1], [2, 5, 0], [5, 75, 1]]
    assert values(inputs, "attention_tiles", shape.attention_tiles) == [[3, 64], [2, 0], [3, 32], [3, 0]]
    assert shape.order == (1, 2, 3)  # of the plan, those that sample
    assert values(inputs, "last_tokens", 3) == [0, 1, 4]
    assert values(inputs, "sample_tiles", shape.sample_tiles) == [[0, 1, BASE_SLOT], [1, 2, 1], [2, 3, 0]]


def test_padding_stands_between_single_tokens_and_chunks() -> None:
    inputs = DeviceInputs(CAPACITY, table([1, BASE_SLOT, 0]), 32, CPU)
    steps = (RowStep(0, 0, 40, (), True), RowStep(1, 4, 1, (), True), RowStep(2, 8, 2, (), False))
    inputs.mixed((RowStep(0, 0, 300, (), True),), Layout(320, 0))

    shape = inputs.mixed(steps, Layout(64, 3))

    assert values(inputs, "rows", 5) == [1, SCRATCH, SCRATCH, 2, 0]
    assert values(inputs, "contexts", 5) == [5, 0, 0, 10, 40]
    assert values(inputs, "starts", 5) == [0, 0, 0, 1, 3]
    assert values(inputs, "counts", 5) == [1, 0, 0, 2, 40]
    assert values(inputs, "token_rows", 64)[43:] == [SCRATCH] * 21
    assert values(inputs, "attention_tiles", 6) == [[4, 32], [3, 0], [4, 0], *[[-1, -1]] * 3]
    assert values(inputs, "last_tokens", 2) == [0, 42]
    tiles = values(inputs, "lora_tiles", shape.lora_tiles + 1)
    assert tiles == [[0, 1, BASE_SLOT], [1, 3, 0], [3, 19, 1], [19, 35, 1], [35, 43, 1], [0, 0, 0]]


@pytest.mark.parametrize("size", [1, 3, 16])
def test_tiles_cover_every_token_once_within_one_adapter(size: int) -> None:
    draw = np.random.default_rng(0)
    counts = draw.integers(1, 40, 25)
    slot, end = np.sort(draw.integers(-1, 5, 25)), np.cumsum(counts)
    owner = np.repeat(slot, counts)
    tiles = lora_tiles(slot, end, size)
    covered = np.concatenate([np.arange(first, past) for first, past, _ in tiles])
    assert covered.tolist() == list(range(end[-1]))
    assert all((owner[first:past] == of).all() and 0 < past - first <= size for first, past, of in tiles)


def test_attention_tiles_with_most_keys_come_first() -> None:
    tiles = attention_tiles(np.array([1, 5, 70]), np.array([9, 100, 0]), 32)
    assert tiles.tolist() == [[1, 0], [2, 64], [2, 32], [2, 0]]
    assert attention_tiles(np.array([1, 1]), np.array([3, 4]), 32).shape == (0, 2)
