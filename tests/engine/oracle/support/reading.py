"""What is read of prompts, beside the oracle's."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from chorus_engine.core.request import Pooling, Request, SampledToken
from tests.engine.oracle.support.serve import Served, make_requests
from tests.engine.oracle.support.truth import Oracle
from tests.engine.oracle.support.world import World

NEAR = 2e-5  # float32, summed in another order


def make_readers(world: World, lengths: Sequence[int]) -> list[Request]:
    """Embeddings of either kind, log probabilities with and without tokens after them, and one plain request."""
    ways = ["continued", "mean", "last", "scored", "plain"]
    requests = make_requests(world, lengths, tokens=6, namespace=b"n")
    # Every adapter meets every way.
    return [_as(request, ways[(at + at // len(ways)) % len(ways)]) for at, request in enumerate(requests)]


def _as(request: Request, way: str) -> Request:
    named = replace(request, id=f"{way}-{request.id}")
    if way == "plain":
        return named
    if way in ("scored", "continued"):
        tokens = 0 if way == "scored" else named.sampling.max_tokens
        return replace(named, sampling=replace(named.sampling, prompt_logprobs=3, max_tokens=tokens))
    return replace(named, pooling=Pooling(way), sampling=replace(named.sampling, max_tokens=0))


def check_readings(oracle: Oracle, requests: Sequence[Request], served: Served) -> None:
    for request in requests:
        if request.pooling is not None:
            _check_embedding(oracle, request, served.embeddings[request.id])
        if request.sampling.prompt_logprobs is not None:
            _check_logprobs(oracle, request, served.prompts[request.id])
        if not request.sampling.max_tokens:
            assert served.tokens[request.id] == []
            assert served.usage[request.id].completion_tokens == 0


def _check_embedding(oracle: Oracle, request: Request, embedding: bytes) -> None:
    hidden = oracle.hidden(request.adapter, request.prompt)
    pooled = hidden.mean(0) if request.pooling is Pooling.MEAN else hidden[-1]
    wanted = torch.nn.functional.normalize(pooled, dim=-1)
    given = torch.frombuffer(bytearray(embedding), dtype=torch.float32)
    torch.testing.assert_close(given, wanted.cpu(), atol=NEAR, rtol=0)


def _check_logprobs(oracle: Oracle, request: Request, given: Sequence[SampledToken]) -> None:
    assert [token.token_id for token in given] == list(request.prompt[1:])
    if len(request.prompt) == 1:
        return
    logprobs = oracle.logits(request.adapter, request.prompt)[:-1].log_softmax(-1).cpu()
    wanted = logprobs.gather(1, torch.tensor(request.prompt[1:])[:, None])[:, 0]
    torch.testing.assert_close(torch.tensor([token.logprob for token in given]), wanted, atol=10 * NEAR, rtol=0)
    top = torch.tensor([[logprob for _, logprob in token.top] for token in given])
    torch.testing.assert_close(top, logprobs.topk(3).values, atol=10 * NEAR, rtol=0)
    for token, row in zip(given, logprobs, strict=True):
        assert all(abs(float(row[other]) - logprob) < 10 * NEAR for other, logprob in token.top)
