import dataclasses

import pytest

from chorus_engine.core.errors import StartError
from chorus_engine.model import LoadedModel
from chorus_engine.runner import measure_capacity
from chorus_engine.runner.kv_cache import KvCache
from tests.engine.runner.conftest import SETTINGS

MORE_THAN_ANYBODY_HAS = 1 << 44  # blocks


@pytest.mark.parametrize(
    ("field", "sentence"),
    [
        ("num_blocks", "no memory for 17592186044416 KV blocks; lower CHORUS_NUM_KV_BLOCKS"),
        ("swap_blocks", "no memory for 17592186044416 swapped KV blocks; lower CHORUS_SWAP_SPACE"),
    ],
)
def test_memory_that_is_not_there_names_the_setting(model: LoadedModel, field: str, sentence: str) -> None:
    capacity = dataclasses.replace(measure_capacity(model, SETTINGS), **{field: MORE_THAN_ANYBODY_HAS})
    with pytest.raises(StartError, match=sentence) as caught:
        KvCache(model.decoder.config, capacity, model.dtype, model.device)
    assert "\n" not in str(caught.value)
