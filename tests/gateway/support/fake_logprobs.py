"""Log probabilities of tokens that a test chose."""

from collections.abc import Sequence

from chorus_proto.engine.v1 import engine_pb2 as pb


def logprobs_of(submit: pb.Submit, tokens: Sequence[int]) -> list[pb.TokenLogprobs]:
    """-0.5 for each token; the n likeliest are the token and those that follow it."""
    if not submit.sampling.HasField("logprobs"):
        return []
    count = submit.sampling.logprobs
    tops = [[token + more for more in range(count)] for token in tokens]
    return [
        pb.TokenLogprobs(logprob=-0.5, top_token_ids=top, top_logprobs=[-0.5 - more for more in range(count)])
        for top in tops
    ]
