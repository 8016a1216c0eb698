"""Searches over the session: one submission, whose answers come together."""

from typing import Any

import pytest

from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.contracts.engine.support.gateway import Gateway, sampling, submit


def beams(width: int = 3, **fields: Any) -> pb.BeamSearch:
    return pb.BeamSearch(width=width, length_penalty=1.0, **fields)


async def test_a_search_is_answered_once_with_all_its_beams(gateway: Gateway) -> None:
    asked = submit("a", range(1, 40), sampling=sampling(9, logprobs=1), beam_search=beams())
    answer = await gateway.ask(asked)
    found, usage = answer.end.beams, answer.end.usage
    assert not answer.token_ids
    assert len(found) == 3
    assert [beam.score for beam in found] == sorted((beam.score for beam in found), reverse=True)
    assert len({tuple(beam.token_ids) for beam in found}) == 3
    for beam in found:
        assert len(beam.token_ids) == len(beam.logprobs) == 9
        assert beam.finish_reason == pb.FINISH_REASON_LENGTH
        assert beam.score == pytest.approx(sum(each.logprob for each in beam.logprobs) / 9, abs=1e-5)
        assert all(len(each.top_token_ids) == 1 for each in beam.logprobs)
    assert (usage.prompt_tokens, usage.completion_tokens) == (39, 27)
    assert usage.computed_tokens >= 8 * 3
    assert answer.end.timing.decode_us > 0
    alone = await gateway.ask(submit("alone", range(1, 40), sampling=sampling(9), beam_search=beams(1)))
    greedy = await gateway.ask(submit("greedy", range(1, 40), sampling=sampling(9)))
    assert list(alone.end.beams[0].token_ids) == greedy.token_ids


async def test_a_search_can_be_cancelled(gateway: Gateway) -> None:
    await gateway.submit(submit("long", sampling=sampling(400), beam_search=beams(4)))
    await gateway.send(cancels=[pb.Cancel(request_id="long")])
    end = (await gateway.answer("long")).end
    assert end.finish_reason == pb.FINISH_REASON_CANCELLED
    assert not end.beams
    assert end.usage.completion_tokens == 0


async def test_what_cannot_be_searched_for_is_refused(gateway: Gateway) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"beam_search": beams(0)}, "beam_search.width is 0"),
        ({"beam_search": beams(33)}, "beam_search.width is 33"),
        ({"beam_search": pb.BeamSearch(width=2, length_penalty=99.0)}, "length_penalty is 99.0"),
        ({"beam_search": beams(), "sampling": sampling(0)}, "max_tokens is 0"),
        ({"beam_search": beams(32), "sampling": sampling(600)}, "max_tokens is 600"),
        ({"beam_search": beams(), "sampling": sampling(4, logit_bias={3: 1.0})}, "logit_bias is given"),
        ({"beam_search": beams(), "sampling": sampling(4, repetition_penalty=1.5)}, "repetition_penalty is given"),
    ]
    for at, (fields, said) in enumerate(wrong):
        end = (await gateway.ask(submit(f"wrong{at}", **fields))).end
        assert end.error.code == pb.ERROR_CODE_INVALID
        assert said in end.error.message
