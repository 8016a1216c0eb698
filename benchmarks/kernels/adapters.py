"""Adapters over the rank-paged pool, by how requests spread over them."""

import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby

import torch

from benchmarks.kernels.case import Case, World
from chorus_engine.runner.graph_sizes import DECODE_TILE, PROMPT_TILE
from chorus_kernels.lora import SitePool, Tiles, lora_delta

PAGE = 8  # rank rows
RANK = 16
FEW_TILE, MANY_TILE = DECODE_TILE, PROMPT_TILE  # tokens a tile
RANKS = (8, 16, 32, 64)


def cases(world: World) -> Iterator[Case]:
    for rows in (1, 32, 128):
        for name, spread in POPULARITY.items():
            if rows > 1 or name == "identical":
                yield case(world, f"{name}, {rows} rows", spread(rows), [RANK], FEW_TILE)
    yield case(world, "distinct, 32 rows, ranks 8 to 64", distinct(32), RANKS, FEW_TILE)
    for adapters in (1, 8):
        slots = [token * adapters // 2048 for token in range(2048)]
        yield case(world, f"{adapters} adapters, prompts of 2048 tokens", slots, [RANK], MANY_TILE)


def identical(rows: int) -> list[int]:
    return [0] * rows


def distinct(rows: int) -> list[int]:
    return list(range(rows))


def uniform(rows: int) -> list[int]:
    """As many groups as the root of the rows, rounded up."""
    groups = -int(-(rows**0.5) // 1)
    return sorted(row % groups for row in range(rows))


def skewed(rows: int) -> list[int]:
    """Groups that grow by half each."""
    slots: list[int] = []
    size = 1.0
    while len(slots) < rows:
        slots += [slots[-1] + 1 if slots else 0] * int(size)
        size *= 1.5
    return slots[:rows]


POPULARITY: dict[str, Callable[[int], list[int]]] = {
    "identical": identical,
    "distinct": distinct,
    "uniform": uniform,
    "skewed": skewed,
}


def case(world: World, what: str, slots: Sequence[int], ranks: Sequence[int], tile: int) -> Case:
    """A layer's four sites one after the other; a call is one site, a quarter of them."""
    adapters = max(slots) + 1
    each = [ranks[i % len(ranks)] for i in range(adapters)]
    rows = sum(inner * len(outers) + sum(outers) for inner, outers in world.sites.values())
    weights = sum(each) * rows * world.item
    activations = len(slots) * world.item * sum(inner + sum(outers) for inner, outers in world.sites.values())
    tiles = Tiles(world.ints(tile_spans(slots, tile)), tile)
    inputs = {inner: world.draw(len(slots), inner) for inner, _ in world.sites.values()}
    calls = [
        partial(lora_delta, inputs[inner], pool(world, inner, outers, each), tiles, max(ranks))
        for _ in range(world.sets(weights))
        for inner, outers in world.sites.values()
    ]
    return Case("lora_delta", what, calls, bytes=(weights + activations) / len(world.sites))


def tile_spans(slots: Sequence[int], most: int) -> list[tuple[int, int, int]]:
    """(first token, past the last, slot) of each tile."""
    spans, start = [], 0
    for slot, group in groupby(slots):
        stop = start + len(list(group))
        spans += [(first, min(first + most, stop), slot) for first in range(start, stop, most)]
        start = stop
    return spans


def pool(world: World, inner: int, outers: tuple[int, ...], ranks: Sequence[int]) -> SitePool:
    """Adapters on pages in random order, as after a while of loading and evicting."""
    pages = [-(-rank // PAGE) for rank in ranks]
    total = sum(pages)
    table = torch.zeros(len(ranks), len(outers), max(pages), dtype=torch.int32)
    for module in range(len(outers)):
        free = random.Random(module).sample(range(total), total)
        for slot, count in enumerate(pages):
            table[slot, module, :count] = torch.tensor([free.pop() for _ in range(count)])
    rows = total * PAGE
    offsets = tuple(rows * sum(outers[:module]) for module in range(len(outers)))
    return SitePool(
        a=world.draw(len(outers), rows, inner, deviation=0.01),
        b=world.draw(rows * sum(outers), deviation=0.01),
        b_offsets=offsets,
        outs=outers,
        ranks=world.ints([[rank] * len(outers) for rank in ranks]),
        pages=table.to(world.device),
        page_rows=PAGE,
    )
