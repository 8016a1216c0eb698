"""A Submit becomes a `core.Request`, or one sentence that says why not."""

import json
import math
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from chorus_engine.core.constraint import Constraint, ConstraintKind
from chorus_engine.core.errors import InvalidRequest
from chorus_engine.core.request import (
    MAX_SPECULATION,
    Band,
    BeamParams,
    EarlyStopping,
    Pooling,
    Request,
    SamplingParams,
)
from chorus_proto.engine.v1 import engine_pb2 as pb

MAX_LOGPROBS = 20
MAX_BEAMS = 32
MAX_LENGTH_PENALTY = 10.0
MAX_BEAM_TOKENS = 16_384  # of all answers of a search, which come in one frame
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAMESPACE_BYTES = 32
_MAX_ID_LENGTH = 256
_POOLING = {pb.POOLING_UNSPECIFIED: None, pb.POOLING_MEAN: Pooling.MEAN, pb.POOLING_LAST: Pooling.LAST}
_PLAIN = SamplingParams(max_tokens=0)
_NOT_SEARCHED = (
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "logit_bias",
    "constraint",
    "prompt_logprobs",
)
_BANDS = {pb.BAND_PRIORITY: Band.PRIORITY, pb.BAND_DEFAULT: Band.DEFAULT, pb.BAND_FLEX: Band.FLEX}


@dataclass(frozen=True, slots=True)
class Limits:
    max_model_len: int  # tokens
    vocab_size: int
    eos_token_ids: tuple[int, ...]


def to_band(band: pb.Band) -> Band:
    if band not in _BANDS:
        raise InvalidRequest(f"band is {band}; it must be 1 (priority), 2 (default) or 3 (flex).")
    return _BANDS[band]


def to_request(submit: pb.Submit, request_id: str, now: float, limits: Limits) -> Request:
    """`now`: seconds on the engine's monotonic clock. Raises InvalidRequest."""
    _check_names(submit)
    prompt = tuple(submit.prompt_token_ids)
    sampling = to_sampling(submit.sampling, limits)
    _check_length(len(prompt), sampling.max_tokens, limits)
    _check_token_ids("prompt_token_ids", prompt, limits)
    if not math.isfinite(submit.counter):
        raise InvalidRequest(f"counter is {submit.counter}; it must be finite.")
    return Request(
        id=request_id,
        prompt=prompt,
        sampling=sampling,
        adapter=submit.adapter_digest or None,
        namespace=submit.cache_namespace,
        band=Band.PRIORITY if submit.aged else to_band(submit.band),
        counter=submit.counter,
        tenant=submit.tenant_tag,
        arrival=now,
        deadline=now + submit.timeout_ms / 1000 if submit.timeout_ms else None,
        traceparent=submit.traceparent,
        pooling=_to_pooling(submit, sampling),
        beams=_to_beams(submit, sampling, limits) if submit.HasField("beam_search") else None,
    )


def _to_pooling(submit: pb.Submit, sampling: SamplingParams) -> Pooling | None:
    if submit.pooling not in _POOLING:
        raise InvalidRequest(f"pooling is {submit.pooling}; it must be 0 (none), 1 (mean) or 2 (last).")
    pooling = _POOLING[submit.pooling]
    if pooling is not None and (sampling.max_tokens or sampling.prompt_logprobs is not None):
        raise InvalidRequest(
            f"pooling is {pooling} and max_tokens {sampling.max_tokens}; an embedding takes max_tokens 0 and no "
            "prompt_logprobs."
        )
    return pooling


def _to_beams(submit: pb.Submit, sampling: SamplingParams, limits: Limits) -> BeamParams:
    search = submit.beam_search
    width, stops, most = search.width, len(sampling.stop_token_ids), sampling.max_tokens
    _check("beam_search.width", width, 1 <= width <= MAX_BEAMS, f"from 1 to {MAX_BEAMS}")
    _check("beam_search.width", width, width + stops <= limits.vocab_size, "smaller than the vocabulary")
    penalty = search.length_penalty
    in_words = f"from -{MAX_LENGTH_PENALTY} to {MAX_LENGTH_PENALTY}"
    _check("beam_search.length_penalty", penalty, abs(penalty) <= MAX_LENGTH_PENALTY, in_words)
    early = search.early_stopping
    _check("beam_search.early_stopping", early, early in pb.EarlyStopping.values(), "0, 1 or 2")
    _check("max_tokens", most, most * width <= MAX_BEAM_TOKENS, f"at most {MAX_BEAM_TOKENS} times the beams' number")
    _check("max_tokens", most, most >= 1, "at least 1 with beam_search")
    for name in _NOT_SEARCHED:
        if getattr(sampling, name) != getattr(_PLAIN, name):
            raise InvalidRequest(f"{name} is given with beam_search, which knows nothing of it; leave it out.")
    if submit.pooling:
        raise InvalidRequest("pooling is given with beam_search; an embedding has no beams.")
    return BeamParams(width, penalty, EarlyStopping(int(early)))


def to_sampling(sampling: pb.SamplingParams, limits: Limits) -> SamplingParams:
    _check_sampling(sampling)
    stops = set(sampling.stop_token_ids)
    _check_token_ids("stop_token_ids", stops, limits)
    _check_token_ids("logit_bias", sampling.logit_bias, limits)
    if not sampling.ignore_eos:
        stops.update(limits.eos_token_ids)
    return SamplingParams(
        max_tokens=sampling.max_tokens,
        min_tokens=sampling.min_tokens,
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        min_p=sampling.min_p,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        repetition_penalty=sampling.repetition_penalty,
        logit_bias=tuple(sorted(sampling.logit_bias.items())),
        seed=sampling.seed if sampling.HasField("seed") else secrets.randbits(64),
        stop_token_ids=tuple(sorted(stops)),
        logprobs=sampling.logprobs if sampling.HasField("logprobs") else None,
        constraint=_to_constraint(sampling.constraint) if sampling.HasField("constraint") else None,
        prompt_logprobs=sampling.prompt_logprobs if sampling.HasField("prompt_logprobs") else None,
        speculation=sampling.speculation if sampling.HasField("speculation") else None,
    )


def _to_constraint(constraint: pb.Constraint) -> Constraint:
    kind = constraint.WhichOneof("kind")
    match kind:
        case None:
            raise InvalidRequest("constraint has no kind; give it one, or leave it out.")
        case "json_object":
            return Constraint(ConstraintKind.JSON_OBJECT)
        case "choice":
            texts = list(constraint.choice.texts)
            if not texts:
                raise InvalidRequest("constraint.choice has 0 texts; it must have at least 1.")
            return Constraint(ConstraintKind.CHOICE, json.dumps(texts))
        case _:
            return Constraint(ConstraintKind(kind), getattr(constraint, kind))


def _check_names(submit: pb.Submit) -> None:
    if not 1 <= len(submit.request_id) <= _MAX_ID_LENGTH:
        raise InvalidRequest(f"request_id has {len(submit.request_id)} characters; it must have 1 to {_MAX_ID_LENGTH}.")
    if submit.adapter_digest and not _DIGEST.fullmatch(submit.adapter_digest):
        raise InvalidRequest(
            f"adapter_digest is {submit.adapter_digest[:80]!r}; it must be 64 lower-case hexadecimal digits, or empty."
        )
    if len(submit.cache_namespace) != _NAMESPACE_BYTES:
        raise InvalidRequest(
            f"cache_namespace has {len(submit.cache_namespace)} bytes; it must have {_NAMESPACE_BYTES}."
        )


def _check_length(prompt: int, max_tokens: int, limits: Limits) -> None:
    if not prompt:
        raise InvalidRequest("the prompt has 0 tokens; it must have at least 1.")
    if prompt + max_tokens > limits.max_model_len:
        raise InvalidRequest(
            f"a prompt of {prompt} tokens and max_tokens {max_tokens} are {prompt + max_tokens} tokens; "
            f"max_model_len is {limits.max_model_len}."
        )


def _check_sampling(sampling: pb.SamplingParams) -> None:
    _check("min_tokens", sampling.min_tokens, sampling.min_tokens <= sampling.max_tokens, "at most max_tokens")
    _check("temperature", sampling.temperature, 0 <= sampling.temperature < math.inf, "0 or above, and finite")
    _check("top_p", sampling.top_p, 0 < sampling.top_p <= 1, "above 0 and at most 1")
    _check("min_p", sampling.min_p, 0 <= sampling.min_p <= 1, "from 0 to 1")
    penalty = sampling.repetition_penalty
    _check("repetition_penalty", penalty, 0 < penalty < math.inf, "above 0, and finite")
    for name in ("presence_penalty", "frequency_penalty"):
        _check(name, getattr(sampling, name), math.isfinite(getattr(sampling, name)), "finite")
    for token_id, bias in sampling.logit_bias.items():
        _check(f"logit_bias[{token_id}]", bias, math.isfinite(bias), "finite")
    for name in ("logprobs", "prompt_logprobs"):
        _check(name, getattr(sampling, name), getattr(sampling, name) <= MAX_LOGPROBS, f"at most {MAX_LOGPROBS}")
    drafts = sampling.speculation
    _check("speculation", drafts, drafts <= MAX_SPECULATION, f"at most {MAX_SPECULATION}")


def _check(name: str, value: float, good: bool, range_in_words: str) -> None:
    if not good:
        raise InvalidRequest(f"{name} is {value}; it must be {range_in_words}.")


def _check_token_ids(name: str, token_ids: Iterable[int], limits: Limits) -> None:
    if (worst := max(token_ids, default=0)) >= limits.vocab_size:
        raise InvalidRequest(f"{name} has the token id {worst}; the vocabulary has {limits.vocab_size} tokens.")
