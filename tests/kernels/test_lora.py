import random
from dataclasses import dataclass

import pytest
import torch

from chorus_kernels.lora import Segment, lora, merge, prepare

RANKS = (4, 8, 16, 20, 64, 1, 256, 33)
SHAPES = ("identical", "distinct", "uniform", "skewed")  # Punica's: how requests spread over adapters


@dataclass(frozen=True)
class Pool:
    outers: list[int]  # outputs of each module
    weights: dict[int, list[tuple[torch.Tensor, torch.Tensor]]]  # slot → A [rank, in], B [rank, out] a module

    def merged(self, slot: int) -> tuple[torch.Tensor, torch.Tensor]:
        return merge(self.weights[slot])


def make_pool(ranks: list[list[int]], inner: int, outers: list[int], device: torch.device) -> Pool:
    """ranks[slot][module]."""

    def pair(rank: int, outer: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.randn(rank, inner, device=device) * inner**-0.5, torch.randn(rank, outer, device=device)

    return Pool(outers, {slot: [pair(*each) for each in zip(r, outers, strict=True)] for slot, r in enumerate(ranks)})


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
        for module, outer in enumerate(pool.outers):
            if slot is not None:
                a, b = pool.weights[slot][module]
                result[token, column : column + outer] += x[token].double() @ a.double().T @ b.double()
            column += outer
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

    lora(y, x, prepare(segments, pool.merged))

    # Sums of up to 256 products of values near 1: a few units in the sixth digit.
    torch.testing.assert_close(y.double(), expected64(pool, before, x, rows), rtol=1e-4, atol=1e-4)
    assert torch.equal(y[:base], before[:base])
    assert torch.equal(y[-after:], before[-after:])


def test_adapter_without_the_module_changes_nothing(device: torch.device) -> None:
    pool = make_pool([[8, 0], [0, 0]], 16, [12, 20], device)
    x, y = torch.randn(6, 16, device=device), torch.randn(6, 32, device=device)
    before = y.clone()
    lora(y, x, prepare([Segment(0, 3, 0), Segment(3, 6, 1)], pool.merged))
    assert torch.equal(y[:3, 12:], before[:3, 12:])
    assert torch.equal(y[3:], before[3:])
    assert not torch.equal(y[:3, :12], before[:3, :12])


def test_one_adapters_infinities_reach_no_other_row(device: torch.device) -> None:
    pool = make_pool([[8], [8]], 16, [12], device)
    pool.weights[0][0][1].fill_(torch.inf)
    x, y = torch.randn(4, 16, device=device), torch.randn(4, 12, device=device)
    lora(y, x, prepare([Segment(0, 2, 0), Segment(2, 4, 1)], pool.merged))
    assert not y[:2].isfinite().all()
    assert y[2:].isfinite().all()


def test_empty_segments(device: torch.device) -> None:
    pool = make_pool([[8]], 16, [12], device)
    x, y = torch.randn(4, 16, device=device), torch.randn(4, 12, device=device)
    before = y.clone()
    lora(y, x, prepare([], pool.merged))
    lora(y, x, prepare([Segment(2, 2, 0)], pool.merged))
    assert torch.equal(y, before)


def test_merged_modules_are_copies(device: torch.device) -> None:
    for outers in ([12], [12, 20]):
        pool = make_pool([[8] * len(outers)], 16, outers, device)
        a, b = pool.merged(0)
        assert a.shape == (8 * len(outers), 16)
        assert b.shape == (8 * len(outers), sum(outers))
        before = a.clone(), b.clone()
        for each in pool.weights[0]:
            each[0].fill_(torch.nan)
            each[1].fill_(torch.nan)
        assert torch.equal(a, before[0])
        assert torch.equal(b, before[1])
