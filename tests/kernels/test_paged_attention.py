import pytest
import torch

from chorus_kernels.paged_attention import AttentionBatch, paged_attention, prepare

BLOCK = 16

# (tokens of this step, tokens in the cache with them) a row; rows of one token first, as the contract asks
BATCHES = {
    "first token": [(1, 1)],
    "decode": [(1, 1), (1, 16), (1, 17), (1, 100), (1, 48)],
    "whole prompts": [(2, 2), (16, 16), (37, 37)],
    "later chunks": [(5, 40), (16, 32), (3, 100)],
    "contexts far apart": [(1, 16), (1, 700), (1, 20), (1, 690), *[(1, 300)] * 3, (9, 9)],
    "mixed": [(1, 33), (1, 5), (20, 20), (7, 70), (2, 2)],
}


def naive64(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, position: int, window: int | None, scale: float
) -> torch.Tensor:
    """One query [heads, head_dim] over a row's keys and values [context, kv_heads, head_dim], head by head."""
    first = 0 if window is None else max(0, position - window + 1)
    group = query.shape[0] // keys.shape[1]
    heads = []
    for head, q in enumerate(query.double()):
        k = keys[first : position + 1, head // group].double()
        v = values[first : position + 1, head // group].double()
        heads.append((k @ q * scale).softmax(0) @ v)
    return torch.stack(heads)


@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(4, 2, 16), (3, 3, 64), (6, 1, 80), (2, 2, 256)])
@pytest.mark.parametrize("window", [None, 1, 20])
def test_against_one_query_at_a_time(
    device: torch.device, name: str, heads: int, kv_heads: int, head_dim: int, window: int | None
) -> None:
    rows = BATCHES[name]
    needed = [-(-context // BLOCK) for _, context in rows]
    order = torch.randperm(sum(needed) + 4, device=device)
    cache = torch.full((len(order), BLOCK, 2, kv_heads, head_dim), torch.nan, device=device)
    padding = int(order[-1])
    tables = torch.full((len(rows), max(needed)), padding, device=device)
    for row, count in enumerate(needed):
        tables[row, :count] = order[sum(needed[:row]) : sum(needed[: row + 1])]
    cache[tables] = torch.randn(*tables.shape, BLOCK, 2, kv_heads, head_dim, device=device)
    query = torch.randn(sum(count for count, _ in rows), heads, head_dim, device=device)
    counts, contexts = zip(*rows, strict=True)
    batch = AttentionBatch(counts, contexts, tables, BLOCK, window)

    output = paged_attention(query, cache.flatten(0, 1), prepare(batch, torch.float32), 0.3)

    token = 0
    for row, (count, context) in enumerate(rows):
        keys, values = cache[tables[row]].flatten(0, 1).unbind(1)  # [slots, kv_heads, head_dim]
        for position in range(context - count, context):
            expected = naive64(query[token], keys, values, position, window, 0.3)
            # Weighted means of values near 1 over at most 700 positions.
            torch.testing.assert_close(output[token].double(), expected, rtol=1e-5, atol=5e-6)
            token += 1
