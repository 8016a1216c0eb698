import random
from dataclasses import dataclass

import pytest
import torch

from chorus_kernels.lora import Segment, Site, lora, prepare

PAGE = 8
RANKS = (4, 8, 16, 20, 64, 1, 256, 33)
SHAPES = ("identical", "distinct", "uniform", "skewed")  # Punica's: how requests spread over adapters


@dataclass(frozen=True)
class Pool:
    site: Site
    weights: dict[int, list[tuple[torch.Tensor, torch.Tensor] | None]]  # slot → A, B a module, as they were loaded


def make_pool(ranks: list[list[int]], inner: int, outers: list[int], device: torch.device) -> Pool:
    """ranks[slot][module]; pages in random order, all that no adapter owns is NaN."""
    modules, slots = len(outers), len(ranks)
    pages = sum(-(-max(r) // PAGE) for r in ranks) + 3
    table = torch.zeros(slots, modules, pages, dtype=torch.int32)
    a = [torch.full((pages * PAGE, inner), torch.nan, device=device) for _ in outers]
    b = [torch.full((pages * PAGE, outer), torch.nan, device=device) for outer in outers]
    weights: dict[int, list[tuple[torch.Tensor, torch.Tensor] | None]] = {slot: [] for slot in range(slots)}
    for module, outer in enumerate(outers):
        free = random.Random(module).sample(range(pages), pages)
        for slot, rank in enumerate(r[module] for r in ranks):
            own = [free.pop() for _ in range(-(-rank // PAGE))]
            table[slot, module, : len(own)] = torch.tensor(own)
            rows = [page * PAGE + offset for page in own for offset in range(PAGE)][:rank]
            pair = (torch.randn(rank, inner, device=device) * inner**-0.5, torch.randn(rank, outer, device=device))
            a[module][rows], b[module][rows] = pair
            weights[slot].append(pair if rank else None)
    return Pool(Site(tuple(a), tuple(b), torch.tensor(ranks, dtype=torch.int32), table, PAGE), weights)


def popularity(shape: str, tokens: int) -> list[int]:
    """The slot of each adapter token."""
    if shape == "identical":
        return [0] * tokens
    if shape == "distinct":
        return list(range(tokens))
    if shape == "uniform":
        groups = max(1, round(tokens**0.5))
        return sorted(token % groups for token in range(tokens))
    return sorted(min(int(random.Random(token).paretovariate(1.0)) - 1, tokens - 1) for token in range(tokens))


def expected64(pool: Pool, y: torch.Tensor, x: torch.Tensor, slots: list[int | None]) -> torch.Tensor:
    result = y.double()
    for token, slot in enumerate(slots):
        column = 0
        for module, b in enumerate(pool.site.b):
            pair = None if slot is None else pool.weights[slot][module]
            if pair is not None:
                result[token, column : column + b.shape[1]] += x[token].double() @ pair[0].double().T @ pair[1].double()
            column += b.shape[1]
    return result


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tokens", [1, 7, 32])
@pytest.mark.parametrize(("inner", "outers"), [(64, [64]), (192, [192, 64, 64]), (2049, [33, 257])])
def test_popularity_shapes(device: torch.device, shape: str, tokens: int, inner: int, outers: list[int]) -> None:
    slots = popularity(shape, tokens)
    ranks = [[RANKS[(slot + m) % len(RANKS)] for m in range(len(outers))] for slot in range(max(slots) + 1)]
    pool = make_pool(ranks, inner, outers, device)
    base, after = 3, 2  # base tokens before and behind
    rows: list[int | None] = [*[None] * base, *slots, *[None] * after]
    x = torch.randn(len(rows), inner, device=device)
    y = torch.randn(len(rows), sum(outers), device=device)
    before = y.clone()
    starts = [i for i in range(tokens) if i == 0 or slots[i] != slots[i - 1]]
    segments = [
        Segment(base + start, base + stop, slots[start])
        for start, stop in zip(starts, [*starts[1:], tokens], strict=True)
    ]

    lora(y, x, prepare(segments, pool.site.gather))

    # Sums of up to 256 products of values near 1: a few units in the sixth digit.
    torch.testing.assert_close(y.double(), expected64(pool, before, x, rows), rtol=1e-4, atol=1e-4)
    assert torch.equal(y[:base], before[:base])
    assert torch.equal(y[-after:], before[-after:])


def test_adapter_without_the_module_changes_nothing(device: torch.device) -> None:
    pool = make_pool([[8, 0], [0, 0]], 16, [12, 20], device)
    x, y = torch.randn(6, 16, device=device), torch.randn(6, 32, device=device)
    before = y.clone()
    lora(y, x, prepare([Segment(0, 3, 0), Segment(3, 6, 1)], pool.site.gather))
    assert torch.equal(y[:3, 12:], before[:3, 12:])
    assert torch.equal(y[3:], before[3:])
    assert not torch.equal(y[:3, :12], before[:3, :12])


def test_one_adapters_infinities_reach_no_other_row(device: torch.device) -> None:
    pool = make_pool([[8], [8]], 16, [12], device)
    pool.site.b[0][pool.site.rows(0, 0)] = torch.inf
    x, y = torch.randn(4, 16, device=device), torch.randn(4, 12, device=device)
    lora(y, x, prepare([Segment(0, 2, 0), Segment(2, 4, 1)], pool.site.gather))
    assert not y[:2].isfinite().all()
    assert y[2:].isfinite().all()


def test_empty_segments(device: torch.device) -> None:
    pool = make_pool([[8]], 16, [12], device)
    x, y = torch.randn(4, 16, device=device), torch.randn(4, 12, device=device)
    before = y.clone()
    lora(y, x, prepare([], pool.site.gather))
    lora(y, x, prepare([Segment(2, 2, 0)], pool.site.gather))
    assert torch.equal(y, before)
