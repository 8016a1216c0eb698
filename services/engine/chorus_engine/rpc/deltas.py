"""`core` values to the wire."""

from chorus_engine.core import errors
from chorus_engine.core.load import Load
from chorus_engine.core.request import Beam, FinishReason, Output, SampledToken, Timing, Usage
from chorus_engine.rpc.usage import SubmissionId
from chorus_proto.engine.v1 import engine_pb2 as pb

_FINISH = {
    None: pb.FINISH_REASON_UNSPECIFIED,
    FinishReason.STOP: pb.FINISH_REASON_STOP,
    FinishReason.LENGTH: pb.FINISH_REASON_LENGTH,
    FinishReason.CANCELLED: pb.FINISH_REASON_CANCELLED,
    FinishReason.DEADLINE: pb.FINISH_REASON_DEADLINE,
    FinishReason.ERROR: pb.FINISH_REASON_ERROR,
}
_CODES: dict[type[Exception], pb.ErrorCode] = {
    errors.InvalidRequest: pb.ERROR_CODE_INVALID,
    errors.ConstraintRefused: pb.ERROR_CODE_CONSTRAINT,
    errors.AdapterNotFound: pb.ERROR_CODE_ADAPTER_NOT_FOUND,
    errors.AdapterUnusable: pb.ERROR_CODE_ADAPTER_UNUSABLE,
    errors.AdapterUnavailable: pb.ERROR_CODE_ADAPTER_UNAVAILABLE,
    errors.NoCredit: pb.ERROR_CODE_NO_CREDIT,
    errors.Crowded: pb.ERROR_CODE_NO_CREDIT,  # as if it had not been let in
    errors.Draining: pb.ERROR_CODE_DRAINING,
}


def to_delta(request_id: str, attempt: int, output: Output) -> pb.Delta:
    delta = pb.Delta(
        request_id=request_id,
        attempt=attempt,
        token_ids=[token.token_id for token in output.tokens],
        logprobs=[to_logprobs(token) for token in output.tokens if token.logprob is not None],
        finish_reason=_FINISH[output.finish],
        beams=[to_beam(beam) for beam in output.beams],
        prompt_logprobs=[to_logprobs(token) for token in output.prompt],
        embedding=output.embedding,
    )
    if output.usage is not None:
        _use(delta.usage, output.usage)
    if output.finish is not None:
        _end(delta, output.timing, output.error)
    return delta


def to_beam(beam: Beam) -> pb.Beam:
    return pb.Beam(
        token_ids=[token.token_id for token in beam.tokens],
        logprobs=[to_logprobs(token) for token in beam.tokens if token.logprob is not None],
        finish_reason=_FINISH[beam.finish],
        score=beam.score,
    )


def to_logprobs(token: SampledToken) -> pb.TokenLogprobs:
    return pb.TokenLogprobs(
        logprob=token.logprob or 0.0,
        top_token_ids=[token_id for token_id, _ in token.top],
        top_logprobs=[logprob for _, logprob in token.top],
    )


def to_final_usage(submission: SubmissionId, usage: Usage) -> pb.FinalUsage:
    named = pb.SubmissionId(request_id=submission.request_id, attempt=submission.attempt)
    message = pb.FinalUsage(submission=named)
    _use(message.usage, usage)
    return message


def to_error(error: Exception) -> pb.Error:
    """What is none of the engine's own errors is INTERNAL, and its words stay in the log."""
    code = _CODES.get(type(error))
    if code is None:
        return pb.Error(code=pb.ERROR_CODE_INTERNAL, message="the engine failed; send the request again.")
    return pb.Error(code=code, message=str(error))


def to_load(load: Load, *, stalled: bool) -> pb.Load:
    return pb.Load(
        running=load.running,
        waiting=load.waiting,
        free_blocks=load.free_blocks,
        total_blocks=load.total_blocks,
        free_slots=load.free_slots,
        idle_slots=load.idle_slots,
        stalled=stalled,
    )


def _use(message: pb.Usage, usage: Usage) -> None:
    message.prompt_tokens = usage.prompt_tokens
    message.completion_tokens = usage.completion_tokens
    message.cached_tokens = usage.cached_tokens
    message.computed_tokens = usage.computed_tokens
    message.drafted_tokens = usage.drafted_tokens
    message.accepted_tokens = usage.accepted_tokens


def _end(delta: pb.Delta, timing: Timing | None, error: Exception | None) -> None:
    if timing is not None:
        delta.timing.queued_us = _microseconds(timing.queued)
        delta.timing.prefill_us = _microseconds(timing.prefill)
        delta.timing.decode_us = _microseconds(timing.decode)
    if error is not None:
        delta.error.CopyFrom(to_error(error))


def _microseconds(seconds: float) -> int:
    return max(0, round(seconds * 1e6))
