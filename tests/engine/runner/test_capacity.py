import dataclasses

import pytest

from chorus_engine.core.errors import StartError
from chorus_engine.model import LoadedModel
from chorus_engine.runner import RunnerSettings, measure_capacity
from chorus_engine.runner.capacity import adapter_page_bytes, block_bytes, vocab_page_bytes

SETTINGS = RunnerSettings(max_num_seqs=4, max_adapters=2, max_lora_rank=20)


def test_blocks_are_what_the_bytes_hold(model: LoadedModel) -> None:
    one = block_bytes(model.decoder.config, 16, model.dtype)
    assert one == 2 * 16 * 2 * 2 * 8 * 4  # layers, tokens, key and value, heads, size, bytes
    capacity = measure_capacity(model, dataclasses.replace(SETTINGS, kv_cache_bytes=10 * one + 5))
    assert capacity.num_blocks == 9  # one is kept for padding
    assert (capacity.max_model_len, capacity.block_size) == (64, 16)
    assert measure_capacity(model, dataclasses.replace(SETTINGS, num_kv_blocks=77)).num_blocks == 77


def test_too_little_memory_for_the_length_asked_for(model: LoadedModel) -> None:
    asked = dataclasses.replace(SETTINGS, max_model_len=64)
    with pytest.raises(StartError, match="holds 3 KV blocks, and one request of max_model_len=64 needs 4"):
        measure_capacity(model, dataclasses.replace(asked, num_kv_blocks=3))
    with pytest.raises(StartError, match="holds 0 KV blocks"):
        measure_capacity(model, dataclasses.replace(SETTINGS, kv_cache_bytes=100))


def test_a_checkpoints_own_length_is_cut_to_what_memory_holds(
    model: LoadedModel, caplog: pytest.LogCaptureFixture
) -> None:
    assert measure_capacity(model, dataclasses.replace(SETTINGS, num_kv_blocks=3)).max_model_len == 48
    assert "memory holds less than the checkpoint's context" in caplog.text
    assert measure_capacity(model, dataclasses.replace(SETTINGS, num_kv_blocks=4)).max_model_len == 64


def test_pool_holds_the_largest_adapters_unless_memory_is_given(model: LoadedModel) -> None:
    assert measure_capacity(model, SETTINGS).adapter_pages == 2 * 3
    page = adapter_page_bytes(model)
    assert measure_capacity(model, dataclasses.replace(SETTINGS, adapter_pool_bytes=5 * page)).adapter_pages == 5
    assert measure_capacity(model, dataclasses.replace(SETTINGS, adapter_pool_bytes=50 * page)).adapter_pages == 6
    with pytest.raises(StartError, match="holds 2 pages, and one adapter of max_lora_rank=20 needs 3"):
        measure_capacity(model, dataclasses.replace(SETTINGS, adapter_pool_bytes=2 * page))


def test_pools_outside_the_layers_hold_as_many_of_the_largest_adapters_as_were_asked_for(model: LoadedModel) -> None:
    assert vocab_page_bytes(model) == 8 * 2 * (60 + 32) * 4  # rows, modules, vocabulary and hidden, bytes
    assert measure_capacity(model, dataclasses.replace(SETTINGS, max_vocab_adapters=1)).vocab_pages == 3
    assert measure_capacity(model, dataclasses.replace(SETTINGS, max_vocab_adapters=9)).vocab_pages == 2 * 3
    assert measure_capacity(model, dataclasses.replace(SETTINGS, max_vocab_adapters=0)).vocab_pages == 0
    without = dataclasses.replace(model, spec=dataclasses.replace(model.spec, outer_modules=()))
    assert measure_capacity(without, SETTINGS).vocab_pages == 0
