"""In float16 and bfloat16 the logits are about as far from float32's as those of transformers."""

from collections.abc import Sequence
from functools import partial

import pytest
import torch

from chorus_engine.model import ModelInput, load
from chorus_kernels.paged_attention import PagedBatch, new_arrivals, paged_attention, tile_queries, tile_table
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
    blocks, group = -(-len(ids) // 16), config.num_heads // config.num_kv_heads
    cache = torch.full(
        (blocks * 16, 2, config.num_kv_heads, config.head_dim), torch.nan, dtype=model.dtype, device=device
    )
    positions = torch.arange(len(ids), device=device)
    step = ModelInput(
        token_ids=torch.tensor(ids, device=device),
        positions=positions,
        slots=positions,
        cache=tuple(cache.clone() for _ in range(config.num_layers)),
        attention=partial(
            attend, one_prompt(len(ids), blocks, tile_queries(model.dtype, group), config.sliding_window)
        ),
        lora=None,
    )
    hidden = model.decoder.hidden(step)
    assert hidden is not None
    return model.decoder.logits(model.decoder.normed(hidden))


def one_prompt(length: int, blocks: int, queries: int, window: int | None) -> PagedBatch:
    def numbers(*values: int) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.int32, device="cuda")

    return PagedBatch(
        rows=numbers(0),
        starts=numbers(0),
        counts=numbers(length),
        contexts=numbers(length),
        block_tables=numbers(*range(blocks))[None],
        arrivals=new_arrivals(torch.device("cuda")),
        block_size=16,
        singles=0,
        window=window,
        tiles=tile_table([length], [length], 0, queries).cuda(),
        tile_queries=queries,
    )


def attend(batch: PagedBatch, query: torch.Tensor, cache: torch.Tensor, scale: float) -> torch.Tensor:
    return paged_attention(query, cache, batch, scale)
