"""What adapters add to embeddings, against float64: ranks mixed, base tokens and padding between them."""

import pytest
import torch
from torch import Tensor

from chorus_kernels.embedding_lora import embed, reference
from chorus_kernels.lora import Part, Tiles
from tests.kernels.test_lora_delta import ON_CUDA, TRITON, Backend, make_pool

RANKS = ((4,), (0,), (17,), (40,), (1,))
# One rounding of x to its dtype, and one of each product's 40 float32 terms, against values of size 1.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}


@pytest.fixture(
    params=[("reference", torch.float32), *TRITON], ids=lambda p: f"{p[0]}-{str(p[1]).removeprefix('torch.')}"
)
def backend(request: pytest.FixtureRequest) -> Backend:
    name, dtype = request.param
    where = torch.device("cuda" if ON_CUDA and name == "triton" else "cpu")
    return Backend(embed_with_pool, where, dtype, large=name == "triton")


def embed_with_pool(*_: object) -> Tensor:
    raise AssertionError("the delta of a product has no part in this")


@pytest.mark.parametrize(("vocab", "hidden"), [(211, 96), (33, 257)])
def test_each_token_gets_its_adapters_share(backend: Backend, vocab: int, hidden: int) -> None:
    pool, weights = make_pool(backend, RANKS, vocab, [hidden])
    entries = [(0, 3, 2), (3, 5, -1), (5, 40, 3), (40, 41, 0), (41, 45, 1), (45, 46, 4), (0, 0, 0)]
    x = torch.randn(48, hidden).to(backend.dtype)  # the last two are padding, in no tile
    ids = torch.randint(vocab, (48,), dtype=torch.int32)
    wanted = x.double()
    for first, past, slot in entries:
        if slot >= 0 and past > first:
            a, b = weights[slot, 0]
            wanted[first:past] += a[:, ids[first:past].long()].T @ b

    got = x.to(backend.device)
    tiles = Tiles(torch.tensor(entries, dtype=torch.int32, device=backend.device), 128)
    if backend.large:
        from chorus_kernels.embedding_lora import triton as gpu

        gpu.embed_tiles(got, ids.to(backend.device), pool, tiles)
    else:
        reference.embed_tiles(got, ids, pool, tiles, 40)

    torch.testing.assert_close(got.cpu().double(), wanted, rtol=TOLERANCE[backend.dtype], atol=TOLERANCE[backend.dtype])
    for first, past in ((3, 5), (41, 45), (46, 48)):
        assert torch.equal(got[first:past].cpu(), x[first:past]), "without an adapter nothing changes"


def test_parts_add_to_their_tokens_alone() -> None:
    x, ids = torch.randn(6, 8), torch.tensor([3, 0, 9, 9, 1, 2], dtype=torch.int32)
    a, b = torch.randn(5, 10), torch.randn(5, 8)
    got = x.clone()
    embed(got, ids, [Part(slice(2, 4), a, b)])
    torch.testing.assert_close(got[2:4], x[2:4] + (a[:, 9] @ b))
    assert torch.equal(got[[0, 1, 4, 5]], x[[0, 1, 4, 5]])
