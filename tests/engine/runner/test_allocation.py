import dataclasses

import pytest

from chorus_engine.core.errors import StartError
from chorus_engine.model import LoadedModel
from chorus_engine.runner import Runner, measure_capacity
from tests.engine.runner.conftest import SETTINGS, NoAdapters

MORE_THAN_ANYBODY_HAS = 1 << 44


@pytest.mark.parametrize(
    ("field", "sentence"),
    [
        ("num_blocks", f"no memory for {MORE_THAN_ANYBODY_HAS} KV blocks; lower CHORUS_NUM_KV_BLOCKS"),
        ("swap_blocks", f"no memory for {MORE_THAN_ANYBODY_HAS} swapped KV blocks; lower CHORUS_SWAP_SPACE"),
        ("max_num_seqs", f"no memory for {MORE_THAN_ANYBODY_HAS} rows; lower CHORUS_MAX_NUM_SEQS"),
        (
            "adapter_pages",
            "no memory for 2 adapter slots; lower CHORUS_MAX_ADAPTERS, CHORUS_MAX_VOCAB_ADAPTERS or",
        ),
    ],
)
def test_memory_that_is_not_there_names_the_setting(model: LoadedModel, field: str, sentence: str) -> None:
    capacity = dataclasses.replace(measure_capacity(model, SETTINGS), **{field: MORE_THAN_ANYBODY_HAS})
    with pytest.raises(StartError, match=sentence) as caught:
        Runner(model, capacity, NoAdapters())
    assert "\n" not in str(caught.value)
