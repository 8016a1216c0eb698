"""The dense products of a layer."""

from collections.abc import Iterator
from functools import partial

from benchmarks.kernels.case import Case, World
from chorus_kernels.linear import linear, pack

FEW = (1, 32, 128, 256)  # rows of a decode step: bound by the weights
MANY = 2048  # of a prompt's chunk: bound by arithmetic


def cases(world: World) -> Iterator[Case]:
    for site, (inner, outers) in world.sites.items():
        outer = sum(outers)
        size = inner * outer * world.item
        weights = [pack(world.draw(outer, inner, deviation=0.02)) for _ in range(world.sets(size))]
        for rows in FEW:
            x = world.draw(rows, inner)
            calls = [partial(linear, x, weight) for weight in weights]
            yield Case("linear", f"{site}, {rows} rows", calls, bytes=size + rows * (inner + outer) * world.item)
        x = world.draw(MANY, inner)
        calls = [partial(linear, x, weight) for weight in weights]
        yield Case("linear", f"{site}, {MANY} rows", calls, flops=2 * MANY * inner * outer)
