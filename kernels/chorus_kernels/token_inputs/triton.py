import torch
import triton
import triton.language as tl
from torch import Tensor

from chorus_kernels.launch.triton import options, trigger, wait

TOKENS = 128  # a program


def token_inputs(
    rows: Tensor, positions: Tensor, token_ids: Tensor, block_tables: Tensor, block_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    tokens = len(rows)
    ids = torch.empty(tokens, dtype=torch.int32, device=rows.device)
    place = torch.empty(2, tokens, dtype=torch.int64, device=rows.device)
    _token_inputs[(triton.cdiv(tokens, TOKENS),)](
        rows, positions, token_ids, block_tables, ids, place, tokens,
        token_ids.stride(0), block_tables.stride(0), BLOCK_SIZE=block_size, TOKENS=TOKENS, num_warps=4,
        **options(rows),
    )  # fmt: skip
    return ids, place[0], place[1]


@triton.jit(do_not_specialize=["tokens"])
def _token_inputs(
    rows, positions, token_ids, block_tables, ids, place, tokens, ids_stride, blocks_stride,
    BLOCK_SIZE: tl.constexpr, TOKENS: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """ids[t] = token_ids[row, position]; place[:, t] = (position, block * BLOCK_SIZE + offset)"""
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    inside = token < tokens
    wait(PDL)
    row = tl.load(rows + token, inside, 0).to(tl.int64)
    position = tl.load(positions + token, inside, -1)
    known = inside & (position >= 0)
    found = tl.load(token_ids + row * ids_stride + position, known, 0)
    block = tl.load(block_tables + row * blocks_stride + position // BLOCK_SIZE, known, 0).to(tl.int64)
    slot = tl.where(known, block * BLOCK_SIZE + position % BLOCK_SIZE, -1)
    tl.store(ids + token, found, inside)
    tl.store(place + token, tl.maximum(position, 0).to(tl.int64), inside)
    tl.store(place + tokens + token, slot, inside)
    trigger(PDL)
