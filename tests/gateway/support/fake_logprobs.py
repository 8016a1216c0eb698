"""Log probabilities of tokens that a test chose."""

import math
import struct
from collections.abc import Sequence
from typing import Any

from chorus_proto.engine.v1 import engine_pb2 as pb

HIDDEN = 4  # values of an embedding


def logprobs_of(submit: pb.Submit, tokens: Sequence[int]) -> list[pb.TokenLogprobs]:
    """-0.5 for each token; the n likeliest are the token and those that follow it."""
    if not submit.sampling.HasField("logprobs"):
        return []
    return _logprobs(tokens, submit.sampling.logprobs)


def read_of(submit: pb.Submit) -> dict[str, Any]:
    """What a delta says of the prompt: log probabilities as of other tokens, or its embedding."""
    said: dict[str, Any] = {}
    prompt = submit.prompt_token_ids
    if submit.sampling.HasField("prompt_logprobs"):
        said["prompt_logprobs"] = _logprobs(prompt[1:], submit.sampling.prompt_logprobs)
    if submit.pooling:
        said["embedding"] = embedding_of(prompt)
    return said


def embedding_of(prompt: Sequence[int]) -> bytes:
    """The direction of the prompt's length, its first token, 3 and 4, whatever the pooling."""
    values = (len(prompt), prompt[0], 3.0, 4.0)
    return struct.pack(f"<{HIDDEN}f", *(value / math.hypot(*values) for value in values))


def _logprobs(tokens: Sequence[int], count: int) -> list[pb.TokenLogprobs]:
    tops = [[token + more for more in range(count)] for token in tokens]
    return [
        pb.TokenLogprobs(logprob=-0.5, top_token_ids=top, top_logprobs=[-0.5 - more for more in range(count)])
        for top in tops
    ]
