"""In float16 and bfloat16 the logits are about as far from float32's as those of transformers."""

from collections.abc import Sequence

import pytest
import torch

from chorus_engine.model import ModelInput, load
from chorus_engine.model.attention import PagedAttention
from chorus_kernels.paged_attention import AttentionBatch
from tests.engine.oracle.support.checkpoints import MAX_POSITIONS
from tests.engine.oracle.support.truth import Oracle
from tests.engine.oracle.support.world import World

LENGTH = 300


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_error_is_within_one_and_a_half_times_that_of_transformers(world: World, dtype: str) -> None:
    torch_dtype = getattr(torch, dtype)
    theirs = Oracle(world.folder, world.adapters, torch_dtype, "cuda")
    prompts = torch.randint(0, 200, (4, LENGTH), generator=torch.Generator().manual_seed(1)).tolist()
    our_error, their_error = 0.0, 0.0
    for ids in prompts:
        truth = world.oracle.logits(None, ids).double()
        our_error += rms(our_logits(world, dtype, ids).double() - truth)
        their_error += rms(theirs.logits(None, ids).double() - truth)
    print(f"{world.family} {dtype}: error {our_error / 4:.3e}, transformers' {their_error / 4:.3e}")
    assert our_error <= 1.5 * their_error


def rms(x: torch.Tensor) -> float:
    return x.square().mean().sqrt().item()


@torch.inference_mode()
def our_logits(world: World, dtype: str, ids: Sequence[int]) -> torch.Tensor:
    """[tokens, vocab] of one prompt in one step."""
    device = torch.device("cuda")
    model = load(world.folder, name="half", device=device, dtype=dtype, max_model_len=MAX_POSITIONS)
    config = model.decoder.config
    blocks = -(-len(ids) // 16)
    cache = torch.zeros(blocks * 16, 2, config.num_kv_heads, config.head_dim, dtype=model.dtype, device=device)
    positions = torch.arange(len(ids), device=device)
    tables = torch.arange(blocks, device=device)[None]
    batch = AttentionBatch((len(ids),), (len(ids),), tables, 16, config.sliding_window)
    step = ModelInput(
        token_ids=torch.tensor(ids, device=device),
        positions=positions,
        slots=positions,
        cache=tuple(cache.clone() for _ in range(config.num_layers)),
        attention=PagedAttention(batch, model.dtype),
        lora=None,
    )
    return model.decoder.logits(model.decoder.hidden(step))
