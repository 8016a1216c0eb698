"""Answers of a beam search that a test chose."""

from collections.abc import Sequence

from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.gateway.support.fake_logprobs import logprobs_of


def beams_of(submit: pb.Submit, tokens: Sequence[int]) -> list[pb.Beam]:
    """The first is `tokens` to the end, each further one begins a token later; all of them end where they may."""
    return [_beam(submit, list(tokens[at : at + submit.sampling.max_tokens])) for at in range(submit.beam_search.width)]


def _beam(submit: pb.Submit, tokens: list[int]) -> pb.Beam:
    cut = len(tokens) == submit.sampling.max_tokens
    return pb.Beam(
        token_ids=tokens,
        logprobs=logprobs_of(submit, tokens),
        finish_reason=pb.FINISH_REASON_LENGTH if cut else pb.FINISH_REASON_STOP,
        score=-float(len(tokens)),
    )
