"""What an engine refuses of a submission: engine.proto's limits."""

import math
import re
from collections.abc import Iterator

from chorus_proto.engine.v1 import engine_pb2 as pb


def refusal(submit: pb.Submit, engine: pb.DescribeResponse) -> str | None:
    """The first reason, if there is any."""
    return next(_reasons(submit, engine), None)


def _reasons(submit: pb.Submit, engine: pb.DescribeResponse) -> Iterator[str]:
    sampling, vocabulary = submit.sampling, engine.model.vocab_size
    prompt = len(submit.prompt_token_ids)
    if prompt == 0:
        yield "the prompt has 0 tokens"
    if prompt + sampling.max_tokens > engine.max_model_len:
        yield f"{prompt + sampling.max_tokens} tokens do not fit: max_model_len is {engine.max_model_len}"
    if submit.pooling and (sampling.max_tokens or sampling.HasField("prompt_logprobs")):
        yield f"max_tokens {sampling.max_tokens}; an embedding takes max_tokens 0"
    if sampling.min_tokens > sampling.max_tokens:
        yield f"min_tokens is {sampling.min_tokens}"
    ids = [*submit.prompt_token_ids, *sampling.logit_bias, *sampling.stop_token_ids]
    yield from (f"token id {token} is not below {vocabulary}" for token in ids if token >= vocabulary)
    yield from _numbers(sampling)
    for name in ("logprobs", "prompt_logprobs"):
        if getattr(sampling, name) > 20:
            yield f"{name} is {getattr(sampling, name)}"
    if sampling.speculation > 16:
        yield f"speculation is {sampling.speculation}"
    if len(submit.cache_namespace) != 32:
        yield f"cache_namespace has {len(submit.cache_namespace)} bytes"
    if submit.adapter_digest and not re.fullmatch("[0-9a-f]{64}", submit.adapter_digest):
        yield f"adapter_digest is '{submit.adapter_digest}'"
    if submit.band == pb.BAND_UNSPECIFIED:
        yield "band is 0"
    if not math.isfinite(submit.counter):
        yield f"counter is {submit.counter}"


def _numbers(sampling: pb.SamplingParams) -> Iterator[str]:
    ranges = {
        "temperature": (0.0, math.inf),
        "top_p": (math.nextafter(0, 1), 1.0),
        "min_p": (0.0, 1.0),
        "repetition_penalty": (math.nextafter(0, 1), math.inf),
        "presence_penalty": (-math.inf, math.inf),
        "frequency_penalty": (-math.inf, math.inf),
    }
    for name, (low, high) in ranges.items():
        value = getattr(sampling, name)
        if not (math.isfinite(value) and low <= value <= high):
            yield f"{name} is {value}"
    for token, bias in sampling.logit_bias.items():
        if not math.isfinite(bias):
            yield f"logit_bias[{token}] is {bias}"
