"""engine.proto's messages from and to the gateway's values. Protobuf begins and ends here."""

from dataclasses import dataclass

from chorus_gateway.engine_client.usage import Orphaned, SubmissionId
from chorus_gateway.errors import (
    ConstraintRefused,
    DeadlineExceeded,
    GatewayError,
    Internal,
    InvalidRequest,
    ModelNotFound,
    Unavailable,
)
from chorus_gateway.values import (
    Band,
    Beam,
    BeamSearch,
    Constraint,
    ConstraintKind,
    Delta,
    FinishReason,
    Job,
    Pooling,
    Sampling,
    Timing,
    TokenLogprob,
    Usage,
)
from chorus_proto.engine.v1 import engine_pb2 as pb

_FINISH = {
    pb.FINISH_REASON_STOP: FinishReason.STOP,
    pb.FINISH_REASON_LENGTH: FinishReason.LENGTH,
    pb.FINISH_REASON_CANCELLED: FinishReason.CANCELLED,
    pb.FINISH_REASON_DEADLINE: FinishReason.DEADLINE,
    pb.FINISH_REASON_ERROR: FinishReason.ERROR,
}
_BAND = {
    Band.PRIORITY: pb.BAND_PRIORITY,
    Band.DEFAULT: pb.BAND_DEFAULT,
    Band.FLEX: pb.BAND_FLEX,
}
_POOLING = {None: pb.POOLING_UNSPECIFIED, Pooling.MEAN: pb.POOLING_MEAN, Pooling.LAST: pb.POOLING_LAST}
_RETRY = frozenset({pb.ERROR_CODE_ADAPTER_UNAVAILABLE, pb.ERROR_CODE_NO_CREDIT, pb.ERROR_CODE_DRAINING})
_MICROSECOND = 1e-6
# Fields of requests that engines alone can judge, as their words on them begin.
_JUDGED = ("logit_bias", "stop_token_ids")


@dataclass(frozen=True, slots=True)
class Failure:
    """How an attempt ended badly. `retry`: another attempt may go well, if no token has been delivered. `fault`: the
    engine's own."""

    error: GatewayError
    retry: bool = False
    fault: bool = False


@dataclass(frozen=True, slots=True)
class Head:
    """The best job that waits for an engine, and how many wait."""

    waiting: int
    band: Band
    counter: float
    tenant: str = ""
    stride: float = 0.0  # by how much the job is expected to let its tenant's counter grow
    aged: bool = False  # as in Job
    alike: int = 1  # of those that wait, the same tenant's


@dataclass(frozen=True, slots=True)
class Load:
    """An engine's own word on how busy it is."""

    requests: int = 0  # of all gateways, running or waiting there
    free_slots: int = 0  # adapter slots that hold nothing
    idle_slots: int = 0  # those with an adapter that nobody uses: they take another one at once
    stalled: bool = False  # its steps do not end: it may hang
    running: int = 0  # of the requests
    free_blocks: int = 0  # of the KV cache
    total_blocks: int = 0


def load_value(message: pb.Load) -> Load:
    return Load(
        message.running + message.waiting,
        message.free_slots,
        message.idle_slots,
        message.stalled,
        message.running,
        message.free_blocks,
        message.total_blocks,
    )


def head_message(head: Head | None) -> pb.Head:
    if head is None:
        return pb.Head(waiting=0)
    return pb.Head(
        waiting=head.waiting,
        band=_BAND[head.band],
        counter=head.counter,
        tenant_tag=head.tenant,
        stride=head.stride,
        aged=head.aged,
        alike=head.alike,
    )


def submit_message(job: Job, *, attempt: int, counter: float, now: float) -> pb.Submit:
    """`now` is on the clock of `job.deadline`."""
    # At least a millisecond: 0 would be no deadline at all.
    timeout_ms = 0 if job.deadline is None else max(1, int((job.deadline - now) * 1000))
    return pb.Submit(
        request_id=job.request_id,
        attempt=attempt,
        cache_namespace=job.model.namespace,
        adapter_digest=job.model.adapter or "",
        band=_BAND[job.band],
        counter=counter,
        tenant_tag=job.tenant.id,
        prompt_token_ids=job.prompt,
        sampling=_sampling_message(job.sampling),
        timeout_ms=timeout_ms,
        traceparent=job.traceparent,
        aged=job.aged,
        pooling=_POOLING[job.pooling],
        beam_search=_beams_message(job.beams),
    )


def _beams_message(beams: BeamSearch | None) -> pb.BeamSearch | None:
    if beams is None:
        return None
    return pb.BeamSearch(
        width=beams.width,
        length_penalty=beams.length_penalty,
        early_stopping=pb.EarlyStopping.Name(beams.early_stopping),
    )


def _sampling_message(sampling: Sampling) -> pb.SamplingParams:
    return pb.SamplingParams(
        max_tokens=sampling.max_tokens,
        min_tokens=sampling.min_tokens,
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        min_p=sampling.min_p,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        repetition_penalty=sampling.repetition_penalty,
        logit_bias=dict(sampling.logit_bias),
        seed=sampling.seed,
        stop_token_ids=sampling.stop_token_ids,
        ignore_eos=sampling.ignore_eos,
        logprobs=sampling.logprobs,
        prompt_logprobs=sampling.prompt_logprobs,
        constraint=_constraint_message(sampling.constraint),
        speculation=sampling.speculation,
    )


def _constraint_message(constraint: Constraint | None) -> pb.Constraint | None:
    if constraint is None:
        return None
    match constraint.kind:
        case ConstraintKind.JSON_OBJECT:
            return pb.Constraint(json_object=True)
        case ConstraintKind.JSON_SCHEMA:
            return pb.Constraint(json_schema=constraint.source)
        case ConstraintKind.REGEX:
            return pb.Constraint(regex=constraint.source)
        case ConstraintKind.CHOICE:
            return pb.Constraint(choice=pb.Constraint.Choice(texts=constraint.choices))
        case ConstraintKind.LARK:
            return pb.Constraint(lark=constraint.source)


def delta_value(message: pb.Delta) -> Delta:
    tokens = tuple(message.token_ids)
    logprobs = tuple(map(_logprob_value, message.logprobs)) if message.logprobs else ()
    usage = usage_value(message.usage) if message.HasField("usage") else None
    prompt = tuple(map(_logprob_value, message.prompt_logprobs)) if message.prompt_logprobs else ()
    if not message.finish_reason:
        return Delta(tokens, logprobs, usage=usage, prompt=prompt)
    return Delta(
        tokens,
        logprobs,
        finish=_FINISH.get(message.finish_reason, FinishReason.ERROR),
        usage=usage,
        timing=_timing_value(message.timing),
        prompt=prompt,
        embedding=message.embedding,
        beams=tuple(map(_beam_value, message.beams)),
    )


def _beam_value(message: pb.Beam) -> Beam:
    logprobs = tuple(map(_logprob_value, message.logprobs))
    return Beam(tuple(message.token_ids), logprobs, _FINISH.get(message.finish_reason, FinishReason.ERROR))


def failure_value(message: pb.Delta) -> Failure | None:
    """None for a delta that is no bad end."""
    finish = message.finish_reason
    if finish == pb.FINISH_REASON_ERROR:
        code = message.error.code
        error = _error(code, message.error.message)
        return Failure(error, retry=code in _RETRY, fault=isinstance(error, Internal))
    if finish == pb.FINISH_REASON_DEADLINE:
        return Failure(DeadlineExceeded("The request ran past its time limit: ask for fewer tokens or try again."))
    if finish == pb.FINISH_REASON_CANCELLED:
        return Failure(Unavailable("The engine cancelled the request: try again."), retry=True)
    return None


def _error(code: int, message: str) -> GatewayError:
    if code == pb.ERROR_CODE_INVALID:
        return InvalidRequest(message, param=next((name for name in _JUDGED if message.startswith(name)), None))
    if code == pb.ERROR_CODE_CONSTRAINT:
        return ConstraintRefused(message)
    if code in (pb.ERROR_CODE_ADAPTER_NOT_FOUND, pb.ERROR_CODE_ADAPTER_UNUSABLE):
        return ModelNotFound(message, param="model", code="model_not_found")
    if code in _RETRY:
        return Unavailable(message)
    return Internal(message)


def _logprob_value(message: pb.TokenLogprobs) -> TokenLogprob:
    return TokenLogprob(message.logprob, tuple(zip(message.top_token_ids, message.top_logprobs, strict=True)))


def usage_value(message: pb.Usage) -> Usage:
    return Usage(
        message.prompt_tokens,
        message.completion_tokens,
        message.cached_tokens,
        message.computed_tokens,
        message.drafted_tokens,
        message.accepted_tokens,
    )


def orphaned_value(message: pb.OrphanedUsageResponse) -> Orphaned:
    ended = {_submission(each.submission): usage_value(each.usage) for each in message.ended}
    return Orphaned(ended, frozenset(map(_submission, message.live)))


def _submission(message: pb.SubmissionId) -> SubmissionId:
    return SubmissionId(message.request_id, message.attempt)


def _timing_value(message: pb.Timing) -> Timing:
    return Timing(message.queued_us * _MICROSECOND, message.prefill_us * _MICROSECOND, message.decode_us * _MICROSECOND)
