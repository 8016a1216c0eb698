from dataclasses import dataclass, replace

import pytest
import torch

from chorus_kernels.paged_attention import (
    AttentionBatch,
    PagedBatch,
    new_arrivals,
    paged,
    paged_attention,
    prepare,
    tile_queries,
    tile_table,
)

BLOCK = 16
CUDA = torch.cuda.is_available()
HALVES = [torch.float16, *([torch.bfloat16] if CUDA else [])]  # the interpreter multiplies bfloat16 wrongly


# (tokens of this step, tokens in the cache with them) a row; rows of one token first, as the contract asks
BATCHES = {
    "first token": [(1, 1)],
    "decode": [(1, 1), (1, 16), (1, 17), (1, 100), (1, 48)],
    "whole prompts": [(2, 2), (16, 16), (37, 37)],
    "later chunks": [(5, 40), (16, 32), (3, 100)],
    "contexts far apart": [(1, 16), (1, 700), (1, 20), (1, 690), *[(1, 300)] * 3, (9, 9)],
    "one long context": [(1, 900), (1, 33)],
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


@dataclass
class Traffic:
    """Rows as a GPU's kernels get them: what is not a row's own is NaN in the cache and nonsense in the tables."""

    rows: list[tuple[int, int]]
    query: torch.Tensor  # [tokens, heads, head_dim], a view of a wider tensor
    keys: torch.Tensor  # [rows, longest context, kv_heads, head_dim]
    values: torch.Tensor
    cache: torch.Tensor
    batch: PagedBatch

    def expected(self, scale: float) -> torch.Tensor:
        """In float64, a row at a time: [tokens, heads, head_dim]."""
        outputs, start = [], 0
        group = self.query.shape[1] // self.keys.shape[2]
        for row, (count, context) in enumerate(self.rows):
            key, value = (of[row, :context].double().repeat_interleave(group, 1) for of in (self.keys, self.values))
            scores = torch.einsum("qhd,khd->hqk", self.query[start : start + count].double(), key) * scale
            ahead = torch.arange(context)[None, :] - torch.arange(context - count, context)[:, None]
            seen = (ahead <= 0) & (ahead > -(self.batch.window or context))
            weights = scores.masked_fill(~seen.to(scores.device), -torch.inf).softmax(-1)
            outputs.append(torch.einsum("hqk,khd->qhd", weights, value))
            start += count
        return torch.cat(outputs)


def integers(of: list[int], device: torch.device) -> torch.Tensor:
    return torch.tensor(of, dtype=torch.int32, device=device)


def make_traffic(
    rows: list[tuple[int, int]],
    shape: tuple[int, int, int],
    dtype: torch.dtype,
    device: torch.device,
    block: int = BLOCK,
    window: int | None = None,
    queries: int | None = None,
) -> Traffic:
    heads, kv_heads, head_dim = shape
    counts, contexts = [count for count, _ in rows], [context for _, context in rows]
    needed = [-(-context // block) for context in contexts]
    order = torch.randperm(sum(needed) + 3, dtype=torch.int32)
    tables = torch.full((len(rows) + 1, max(needed) + 1), 2**31 - 1, dtype=torch.int32)
    cache = torch.full((len(order) * block, 2, kv_heads, head_dim), torch.nan, dtype=dtype, device=device)
    keys, values = torch.randn(2, len(rows), max(contexts), kv_heads, head_dim, dtype=dtype, device=device)
    places = torch.randperm(len(rows) + 1)[: len(rows)]  # rows of the tables are in another order
    for row, (place, context) in enumerate(zip(places, contexts, strict=True)):
        blocks = order[sum(needed[:row]) : sum(needed[: row + 1])]
        tables[place, : needed[row]] = blocks
        slots = (blocks[:, None] * block + torch.arange(block)).flatten()[:context].to(device)
        cache[slots, 0], cache[slots, 1] = keys[row, :context], values[row, :context]
    singles = next((row for row, count in enumerate(counts) if count > 1), len(counts))
    starts = [sum(counts[:row]) for row in range(len(rows))]
    queries = queries or tile_queries(dtype, heads // kv_heads)
    batch = PagedBatch(
        rows=places.to(device, torch.int32),
        starts=integers(starts, device),
        counts=integers(counts, device),
        contexts=integers(contexts, device),
        block_tables=tables.to(device),
        arrivals=new_arrivals(device),
        block_size=block,
        singles=singles,
        window=window,
        tiles=tile_table(counts, contexts, singles, queries).to(device) if singles < len(rows) else None,
        tile_queries=queries,
    )
    qkv = torch.randn(sum(counts), heads + 2 * kv_heads, head_dim, dtype=dtype, device=device)
    return Traffic(rows, qkv[:, :heads], keys, values, cache, batch)


# Of values near 1 whose weights sum to 1: the result is rounded to the type, and so is each weight before it meets
# its value. Float32 is multiplied as it is.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


def check(traffic: Traffic, scale: float = 0.3) -> None:
    output = paged_attention(traffic.query, traffic.cache, traffic.batch, scale)
    assert output.is_contiguous()
    tolerance = TOLERANCE[output.dtype]
    torch.testing.assert_close(output.double(), traffic.expected(scale), rtol=tolerance, atol=tolerance)


@pytest.fixture(params=[torch.float32, *HALVES], ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    assert isinstance(request.param, torch.dtype)
    return request.param


@pytest.fixture
def cuda() -> torch.device:
    if not CUDA:
        pytest.skip("needs a CUDA device")
    return torch.device("cuda")


@pytest.fixture
def few_programs(kernel_device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter runs programs one after the other: a few are enough."""
    if kernel_device.type == "cpu":
        monkeypatch.setattr(paged, "PROGRAMS", 24)


@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("window", [None, 20])
@pytest.mark.usefixtures("few_programs")
def test_paged_batches(kernel_device: torch.device, dtype: torch.dtype, name: str, window: int | None) -> None:
    check(make_traffic(BATCHES[name], (4, 2, 64), dtype, kernel_device, window=window))


@pytest.mark.parametrize("shape", [(3, 1, 80), (7, 7, 96), (14, 2, 64), (16, 1, 128), (3, 3, 256)])
@pytest.mark.usefixtures("few_programs")
def test_shapes(kernel_device: torch.device, dtype: torch.dtype, shape: tuple[int, int, int]) -> None:
    check(make_traffic([(1, 800), (1, 5), (20, 23), (7, 40)], shape, dtype, kernel_device))


@pytest.mark.parametrize("block", [1, 8, 64, 256])
@pytest.mark.usefixtures("few_programs")
def test_block_sizes(kernel_device: torch.device, dtype: torch.dtype, block: int) -> None:
    check(make_traffic([(1, 70), (1, 3), (9, 69)], (4, 2, 64), dtype, kernel_device, block))


@pytest.mark.parametrize("queries", [1, 5, 128])
@pytest.mark.usefixtures("few_programs")
def test_tiles_of_other_sizes(kernel_device: torch.device, dtype: torch.dtype, queries: int) -> None:
    check(make_traffic([(9, 9), (6, 70)], (6, 2, 64), dtype, kernel_device, window=33, queries=queries))


@pytest.mark.usefixtures("few_programs")
def test_padding_is_passed_over(kernel_device: torch.device, dtype: torch.dtype) -> None:
    traffic = make_traffic([(1, 33), (1, 5), (1, 20), (5, 9)], (4, 2, 64), dtype, kernel_device)
    whole = paged_attention(traffic.query, traffic.cache, traffic.batch, 0.3)
    assert traffic.batch.tiles is not None
    traffic.batch.contexts[1] = 0
    traffic.batch.tiles[:, 0] = -1

    output = paged_attention(traffic.query, traffic.cache, traffic.batch, 0.3)

    assert torch.equal(output[[0, 2]], whole[[0, 2]])


@pytest.mark.usefixtures("few_programs")
def test_a_row_is_the_same_beside_others(kernel_device: torch.device, dtype: torch.dtype) -> None:
    traffic = make_traffic([(1, 40), (1, 5), (1, 64)], (4, 2, 64), dtype, kernel_device)
    order = torch.tensor([2, 0, 0], device=kernel_device)
    other = replace(traffic.batch, rows=traffic.batch.rows[order], contexts=traffic.batch.contexts[order])
    output = paged_attention(traffic.query[order], traffic.cache, other, 0.3)
    assert torch.equal(output, paged_attention(traffic.query, traffic.cache, traffic.batch, 0.3)[order])


@pytest.mark.gpu
def test_a_prompt_is_the_same_however_it_is_cut(cuda: torch.device, dtype: torch.dtype) -> None:
    traffic = make_traffic([(150, 205)], (32, 8, 128), dtype, cuda)
    counts, contexts = [21, 129], [76, 205]
    cut = replace(
        traffic.batch,
        rows=traffic.batch.rows.repeat(2),
        starts=integers([0, 21], cuda),
        counts=integers(counts, cuda),
        contexts=integers(contexts, cuda),
        tiles=tile_table(counts, contexts, 0, traffic.batch.tile_queries).to(cuda),
    )
    whole, parts = (paged_attention(traffic.query, traffic.cache, batch, 0.1) for batch in (traffic.batch, cut))
    assert torch.equal(whole, parts)


def test_tiles_cover_the_chunks_longest_first() -> None:
    tiles = tile_table([1, 5, 9], [7, 100, 9], 1, 4).tolist()
    assert tiles == [[1, 4], [1, 0], [2, 8], [2, 4], [2, 0]]


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(32, 8, 128), (28, 4, 128), (8, 8, 96), (16, 1, 256), (12, 4, 64)])
@pytest.mark.parametrize("window", [None, 1000])
def test_long_contexts(cuda: torch.device, dtype: torch.dtype, shape: tuple[int, int, int], window: int | None) -> None:
    rows = [(1, 9000), (1, 1), (1, 513), (1, 4097), (300, 300), (1025, 5000), (2, 777), (512, 2048)]
    check(make_traffic(rows, shape, dtype, cuda, window=window), shape[2] ** -0.5)


@pytest.mark.gpu
@pytest.mark.parametrize("sequences", [1, 8, 300])
def test_a_graph_follows_the_contexts(cuda: torch.device, dtype: torch.dtype, sequences: int) -> None:
    generator = torch.Generator().manual_seed(1)
    contexts = torch.randint(1, 700, (2, sequences), generator=generator).tolist()
    contexts[0][0], contexts[1][-1] = 7000, 3000
    before, after = (make_traffic([(1, n) for n in of], (32, 8, 128), dtype, cuda) for of in contexts)
    query = torch.empty_like(before.query)
    cache = torch.full_like(max(before.cache, after.cache, key=len), torch.nan)
    tables = torch.zeros(sequences + 1, 500, dtype=torch.int32, device=cuda)
    ones = torch.ones(sequences, dtype=torch.int32, device=cuda)
    batch = PagedBatch(
        rows=ones.clone(),
        starts=torch.arange(sequences, dtype=torch.int32, device=cuda),
        counts=ones,
        contexts=torch.zeros_like(ones),
        block_tables=tables,
        arrivals=new_arrivals(cuda),
        block_size=BLOCK,
        singles=sequences,
    )
    paged_attention(query, cache, batch, 0.1)  # compiles
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = paged_attention(query, cache, batch, 0.1)

    for traffic in (before, after):
        query.copy_(traffic.query)
        cache[: len(traffic.cache)] = traffic.cache
        batch.rows.copy_(traffic.batch.rows)
        batch.contexts.copy_(traffic.batch.contexts)
        tables[:, : traffic.batch.block_tables.shape[1]] = traffic.batch.block_tables
        graph.replay()
        tolerance = TOLERANCE[dtype]
        torch.testing.assert_close(output.double(), traffic.expected(0.1), rtol=tolerance, atol=tolerance)
