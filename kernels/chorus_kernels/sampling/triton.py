from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra import libdevice

from chorus_kernels.launch.triton import options, trigger, wait

CHUNK = 2048  # tokens a program: within 10% of the best from 1 row to 256
LN_2 = tl.constexpr(0.6931471805599453)


def draw(logits: Tensor, temperature: Tensor, seeds: Tensor, positions: Tensor) -> Tensor:
    rows, vocab = logits.shape
    chunks, block = _launch(vocab)
    values = torch.empty((rows, chunks), dtype=torch.float32, device=logits.device)
    ids = torch.empty((rows, chunks), dtype=torch.int32, device=logits.device)
    tokens = torch.empty(rows, dtype=torch.int64, device=logits.device)
    launch = options(logits)
    _best_of_chunk[(rows * chunks,)](
        logits, temperature, seeds, positions, values, ids, logits.stride(0),
        VOCAB=vocab, CHUNK=CHUNK, CHUNKS=chunks, FAST=logits.is_cuda, num_warps=4, **launch
    )  # fmt: skip
    _best_of_row[(rows,)](
        values, ids, tokens, CHUNKS=chunks, BLOCK=block, num_warps=1, **launch
    )  # fmt: skip
    return tokens


@cache  # Triton's own arithmetic takes microseconds
def _launch(vocab: int) -> tuple[int, int]:
    """Chunks a row, and the block that holds their results."""
    chunks = triton.cdiv(vocab, CHUNK)
    return chunks, triton.next_power_of_2(chunks)


@triton.jit
def _best_of_chunk(
    logits, temperature, seeds, positions, values, ids, stride,
    VOCAB: tl.constexpr, CHUNK: tl.constexpr, CHUNKS: tl.constexpr, FAST: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """The largest of logits + temperature * gumbel and its lowest token; a program a chunk of a row.

    Not logits / temperature + gumbel: this has the same argmax, is greedy at 0, and cannot overflow near it.
    """
    row = (tl.program_id(0) // CHUNKS).to(tl.int64)
    token = tl.program_id(0) % CHUNKS * CHUNK + tl.arange(0, CHUNK)
    wait(PDL)
    score = tl.load(logits + row * stride + token, mask=token < VOCAB, other=float("-inf")).to(tl.float32)
    warmth = tl.load(temperature + row)
    if warmth > 0:
        score += warmth * gumbel(hash_bits(tl.load(seeds + row), tl.load(positions + row), token), FAST)
    trigger(PDL)
    score = tl.where(score == score, score, float("inf"))  # NaN too must leave a token of the row
    best = tl.max(score)
    tl.store(values + tl.program_id(0), best)
    tl.store(ids + tl.program_id(0), tl.min(tl.where(score == best, token, VOCAB)))


@triton.jit
def _best_of_row(values, ids, tokens, CHUNKS: tl.constexpr, BLOCK: tl.constexpr, PDL: tl.constexpr):
    """The best of a row's chunks, the lowest token where several are; a program a row."""
    row = tl.program_id(0)
    chunk = tl.arange(0, BLOCK)
    wait(PDL)
    value = tl.load(values + row * CHUNKS + chunk, mask=chunk < CHUNKS, other=float("-inf"))
    token = tl.load(ids + row * CHUNKS + chunk, mask=chunk < CHUNKS, other=0x7FFFFFFF)
    trigger(PDL)
    token = tl.min(tl.where(value == tl.max(value), token, 0x7FFFFFFF))
    tl.store(tokens + row, token.to(tl.int64))


@triton.jit
def gumbel(bits, FAST: tl.constexpr):
    """noise.gumbel of these bits, within 1e-5."""
    uniform = ((bits & 0x7FFFFFFF).to(tl.int32).to(tl.float32) + 0.5) * 2.0**-31
    uniform = tl.minimum(uniform, 1 - 2.0**-24)
    # -log(1 - uniform); small values keep float32's whole precision as a series.
    series = uniform * (1 + uniform * (1 / 2 + uniform * (1 / 3 + uniform * (1 / 4))))
    exponential = tl.where(uniform < 1 / 32, series, -LN_2 * _log2(1 - uniform, FAST))
    return -LN_2 * _log2(exponential, FAST)


@triton.jit
def _log2(x, FAST: tl.constexpr):
    """FAST is one instruction on CUDA, and nothing that the interpreter knows."""
    return libdevice.fast_log2f(x) if FAST else tl.log2(x)


@triton.jit
def hash_bits(seed, position, token):
    """noise.hash_bits of one seed and position, int64, and of tokens, int32: uint32."""
    key = _mix_64(seed.to(tl.uint64, bitcast=True) + 0x9E3779B97F4A7C15)
    key = _mix_64(key + position.to(tl.uint64, bitcast=True) * 0x9E3779B97F4A7C15)
    low, high = key.to(tl.uint32), (key >> 32).to(tl.uint32)
    return _mix_32(_mix_32((token.to(tl.uint32, bitcast=True) * 0x9E3779B9) ^ low) ^ high)


@triton.jit
def _mix_64(x):
    """splitmix64's finalizer, of uint64."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB
    return x ^ (x >> 31)


@triton.jit
def _mix_32(x):
    """murmur3's finalizer, of uint32."""
    x = (x ^ (x >> 16)) * 0x85EBCA6B
    x = (x ^ (x >> 13)) * 0xC2B2AE35
    return x ^ (x >> 16)
