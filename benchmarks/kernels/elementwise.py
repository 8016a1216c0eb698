"""Norm, activation, rotation with its write to the cache, and the draw of tokens."""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.kernels.case import Case, World
from chorus_kernels.rms_norm import add_rms_norm
from chorus_kernels.rotary import rotary_store, rotation_table
from chorus_kernels.sampling import draw
from chorus_kernels.silu_mul import silu_mul

ROWS = (1, 32, 128, 2048)
POSITIONS = 4096


def cases(world: World) -> Iterator[Case]:
    for rows in ROWS:
        yield norm(world, rows)
        yield activation(world, rows)
        yield rotation(world, rows)
    for rows in (1, 32, 256):
        yield sampling(world, rows)


def norm(world: World, rows: int) -> Case:
    size = 4 * rows * world.hidden * world.item  # x and residual are read, residual and result written
    calls = [
        partial(
            add_rms_norm, world.draw(rows, world.hidden), world.draw(rows, world.hidden), world.draw(world.hidden), 1e-5
        )
        for _ in range(world.sets(size))
    ]
    return Case("add_rms_norm", f"{rows} rows", calls, bytes=size)


def activation(world: World, rows: int) -> Case:
    size = 3 * rows * world.width * world.item
    calls = [partial(silu_mul, world.draw(rows, 2 * world.width)) for _ in range(world.sets(size))]
    return Case("silu_mul", f"{rows} rows", calls, bytes=size)


def rotation(world: World, rows: int) -> Case:
    heads = world.heads + 2 * world.kv_heads
    size = 2 * rows * heads * world.head_dim * world.item
    inverse = 500_000.0 ** (-torch.arange(0, world.head_dim, 2) / world.head_dim)
    table = rotation_table(inverse, POSITIONS, world.dtype).to(world.device)
    calls = []
    for _ in range(world.sets(size)):
        cache = world.draw(POSITIONS, 2, world.kv_heads, world.head_dim)
        slots = torch.randperm(POSITIONS, device=world.device)[:rows]
        calls.append(partial(rotary_store, world.draw(rows, heads, world.head_dim), table[:rows], slots, cache))
    return Case("rotary_store", f"{rows} rows", calls, bytes=size)


def sampling(world: World, rows: int) -> Case:
    size = rows * world.vocab * world.item
    temperature = torch.linspace(0, 1, rows, device=world.device)
    seeds = torch.arange(rows, device=world.device)
    calls = [
        partial(draw, world.draw(rows, world.vocab), temperature, seeds, seeds + 100) for _ in range(world.sets(size))
    ]
    return Case("draw", f"{rows} rows", calls, bytes=size)
