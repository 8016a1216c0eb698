"""How many KV blocks and adapter pages fit, decided once after the weights are in memory."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from chorus_engine.core.errors import StartError
from chorus_engine.core.spec import Capacity, LinearModule
from chorus_engine.model import LoadedModel, ModelConfig

log = logging.getLogger(__name__)

ADAPTER_PAGE_ROWS = 8
POOL_SHARE = 0.2  # of the memory that KV cache and adapters share
GRAPH_BYTES = 512 * 2**20  # what CUDA graphs and libraries take beside the tensors of a step


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """Sizes are bytes."""

    max_num_seqs: int = 64
    max_num_batched_tokens: int = 2048
    block_size: int = 16
    max_adapters: int = 8
    max_lora_rank: int = 64
    max_vocab_adapters: int = 4  # of those, that may have modules outside the layers
    max_model_len: int | None = None  # None: the checkpoint's limit, or what memory holds of it
    num_kv_blocks: int | None = None  # None: from memory
    kv_cache_bytes: int = 512 * 2**20  # on CPU
    gpu_memory_utilization: float = 0.9  # on CUDA: share of the card's memory that weights, cache and pool may take
    swap_bytes: int = 0  # host memory for swapped KV blocks
    max_verified: int = 0  # tokens that a step with drafts may draw, at least; 0: there are no drafts
    # None: every slot may hold an adapter of the largest rank on all modules; on CUDA within POOL_SHARE of what is free
    adapter_pool_bytes: int | None = None


def measure_capacity(model: LoadedModel, settings: RunnerSettings, draft: LoadedModel | None = None) -> Capacity:
    """draft: a second model whose keys and values need room beside the first one's, block by block.

    Raises StartError when memory does not hold one request of the length asked for, or one largest adapter.
    """
    block = sum(
        block_bytes(each.decoder.config, settings.block_size, each.dtype) for each in (model, draft) if each is not None
    )
    pages, vocab_pages = _adapter_pages(model, settings), _vocab_pages(model, settings)
    if settings.num_kv_blocks is not None:
        blocks = settings.num_kv_blocks
    else:
        pool_bytes = pages * adapter_page_bytes(model) + vocab_pages * vocab_page_bytes(model)
        memory = _cache_bytes(model, settings, pool_bytes)
        blocks = memory // block - 1
    max_model_len = _fitting_length(len(model.decoder.rotation), blocks, settings)
    return Capacity(
        max_model_len=max_model_len,
        max_num_seqs=settings.max_num_seqs,
        max_num_batched_tokens=settings.max_num_batched_tokens,
        block_size=settings.block_size,
        num_blocks=blocks,
        max_adapters=settings.max_adapters,
        adapter_page_rows=ADAPTER_PAGE_ROWS,
        adapter_pages=pages,
        max_lora_rank=settings.max_lora_rank,
        vocab_pages=vocab_pages,
        max_verified=settings.max_verified,
        swap_blocks=settings.swap_bytes // block,
    )


def _fitting_length(longest: int, blocks: int, settings: RunnerSettings) -> int:
    """The length that was asked for; of a checkpoint's own limit, as much as memory holds."""
    needed = -(-longest // settings.block_size)
    if blocks >= needed:
        return longest
    if settings.max_model_len is None and blocks >= 1:
        fits = blocks * settings.block_size
        log.warning(
            "memory holds less than the checkpoint's context, which is cut; give the KV cache more for all of it",
            extra={"max_model_len": fits, "checkpoint_limit": longest},
        )
        return fits
    raise StartError(
        f"Memory holds {max(blocks, 0)} KV blocks, and one request of max_model_len={longest} needs {needed}; lower "
        "max_model_len or give the KV cache more memory (CHORUS_KV_CACHE_MEMORY, on cuda "
        "CHORUS_GPU_MEMORY_UTILIZATION)."
    )


def block_bytes(config: ModelConfig, block_size: int, dtype: torch.dtype) -> int:
    """Bytes of one KV block over all layers."""
    return config.num_layers * block_size * 2 * config.num_kv_heads * config.head_dim * dtype.itemsize


def adapter_page_bytes(model: LoadedModel) -> int:
    """Bytes of one page in each (layer, module) pool together."""
    return model.spec.num_layers * ADAPTER_PAGE_ROWS * _row_bytes(model.spec.modules, model.dtype)


def vocab_page_bytes(model: LoadedModel) -> int:
    """Bytes of one page in each pool outside the layers together."""
    return ADAPTER_PAGE_ROWS * _row_bytes(model.spec.outer_modules, model.dtype)


def _row_bytes(modules: Iterable[LinearModule], dtype: torch.dtype) -> int:
    return sum(module.in_features + module.out_features for module in modules) * dtype.itemsize


def _adapter_pages(model: LoadedModel, settings: RunnerSettings) -> int:
    largest = -(-settings.max_lora_rank // ADAPTER_PAGE_ROWS)
    if settings.adapter_pool_bytes is None:
        wanted = settings.max_adapters * largest
        if model.device.type != "cuda":
            return wanted
        shared = int(POOL_SHARE * _budget(model, settings)) // adapter_page_bytes(model)
        return min(wanted, max(largest, shared))
    pages = settings.adapter_pool_bytes // adapter_page_bytes(model)
    if settings.max_adapters and pages < largest:
        raise StartError(
            f"adapter_pool_memory of {settings.adapter_pool_bytes} bytes holds {pages} pages, and one adapter of "
            f"max_lora_rank={settings.max_lora_rank} needs {largest} of {adapter_page_bytes(model)} bytes each; "
            "raise the memory or lower the rank."
        )
    return min(pages, settings.max_adapters * largest)


def _vocab_pages(model: LoadedModel, settings: RunnerSettings) -> int:
    """As many adapters of the largest rank as were asked for; beside the memory that was given to the pool."""
    if not model.spec.outer_modules:
        return 0
    return min(settings.max_vocab_adapters, settings.max_adapters) * -(-settings.max_lora_rank // ADAPTER_PAGE_ROWS)


def _cache_bytes(model: LoadedModel, settings: RunnerSettings, pool_bytes: int) -> int:
    if model.device.type != "cuda":
        return settings.kv_cache_bytes
    return max(0, _budget(model, settings) - pool_bytes)


def _budget(model: LoadedModel, settings: RunnerSettings) -> int:
    """Bytes of the card that KV cache and adapters share: what was asked for, less what is taken or steps need."""
    free, total = torch.cuda.mem_get_info(model.device)
    reserved = torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
    used = total - free - reserved
    steps = _activation_bytes(model.decoder.config, settings, model.dtype) + GRAPH_BYTES
    return max(0, int(total * settings.gpu_memory_utilization) - used - steps)


def _activation_bytes(config: ModelConfig, settings: RunnerSettings, dtype: torch.dtype) -> int:
    """An upper estimate of what one full step holds at once: a layer's intermediates, and the sampler's logits."""
    width = 8 * config.hidden_size + 6 * config.intermediate_size  # with what adapters add beside a product
    layer = settings.max_num_batched_tokens * width * dtype.itemsize
    logits = 6 * max(settings.max_num_seqs, settings.max_verified) * config.vocab_size * 4
    return 2 * layer + logits
