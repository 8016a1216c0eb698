"""A stream's state, without a stream."""

from dataclasses import dataclass, field

import pytest

from chorus_gateway.engine_client.codec import Failure, Head
from chorus_gateway.engine_client.session import Session
from chorus_gateway.errors import DeadlineExceeded, InvalidRequest, ModelNotFound, Unavailable
from chorus_gateway.values import Band, Delta, FinishReason, Timing, TokenLogprob, Usage
from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.gateway.support.values import job


@dataclass
class Listening:
    deltas: list[Delta] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def delta(self, delta: Delta) -> None:
        self.deltas.append(delta)

    def failed(self, failure: Failure) -> None:
        self.failures.append(failure)


@pytest.fixture
def session() -> Session:
    """Past its hello, with two credits."""
    session = Session("worker", lambda: None)
    hello = session.take()
    assert hello == pb.GatewayFrame(hello=pb.Hello(worker_id="worker"))
    session.receive(pb.EngineFrame(credits=2))
    return session


def submitted(session: Session, request_id: str = "r", attempt: int = 0) -> Listening:
    listening = Listening()
    session.submit(job(request_id), listening, attempt=attempt, counter=1.5, now=0.0)
    return listening


def frame(request_id: str = "r", attempt: int = 0, **fields: object) -> pb.EngineFrame:
    delta = pb.Delta(request_id=request_id, attempt=attempt, **fields)  # type: ignore[arg-type]
    return pb.EngineFrame(deltas=[delta])


def test_a_submit_spends_a_credit(session: Session) -> None:
    submitted(session)
    assert session.credits == 1
    sent = session.take()
    assert sent is not None
    [submit] = sent.submits
    assert (submit.request_id, submit.attempt, submit.counter, submit.band) == ("r", 0, 1.5, pb.BAND_DEFAULT)
    assert (submit.tenant_tag, list(submit.prompt_token_ids), submit.timeout_ms) == ("acme", [1], 0)
    assert session.take() is None


def test_without_a_credit_nothing_is_submitted(session: Session) -> None:
    submitted(session, "a")
    submitted(session, "b")
    with pytest.raises(AssertionError):
        submitted(session, "c")


def test_time_left_is_sent_and_never_as_none(session: Session) -> None:
    session.submit(job("a", deadline=12.5), Listening(), attempt=0, counter=0, now=10.0)
    session.submit(job("b", deadline=9.0), Listening(), attempt=0, counter=0, now=10.0)
    sent = session.take()
    assert sent is not None
    assert [submit.timeout_ms for submit in sent.submits] == [2500, 1]


def test_deltas_reach_their_listener(session: Session) -> None:
    mine, other = submitted(session, "mine"), submitted(session, "other")
    logprobs = [pb.TokenLogprobs(logprob=-0.5, top_token_ids=[7, 8], top_logprobs=[-0.5, -1.5])]
    session.receive(frame("mine", token_ids=[7], logprobs=logprobs))
    usage = pb.Usage(prompt_tokens=1, completion_tokens=2, cached_tokens=3, computed_tokens=4)
    timing = pb.Timing(queued_us=1_000_000, prefill_us=2_000_000, decode_us=500_000)
    session.receive(frame("mine", token_ids=[0], finish_reason=pb.FINISH_REASON_STOP, usage=usage, timing=timing))
    assert mine.deltas == [
        Delta((7,), (TokenLogprob(-0.5, ((7, -0.5), (8, -1.5))),)),
        Delta((0,), (), FinishReason.STOP, Usage(1, 2, 3, 4), Timing(1.0, 2.0, 0.5)),
    ]
    assert other == Listening()
    assert len(session) == 1


def test_late_frames_of_an_old_attempt_are_dropped(session: Session) -> None:
    now = submitted(session, attempt=1)
    session.receive(frame(attempt=0, token_ids=[5]))
    session.receive(frame(attempt=0, finish_reason=pb.FINISH_REASON_CANCELLED))
    assert now == Listening()
    session.receive(frame("unknown", token_ids=[5]))
    session.receive(frame(attempt=1, token_ids=[6]))
    assert now.deltas == [Delta((6,))]


def test_a_cancelled_job_hears_no_more(session: Session) -> None:
    listening = submitted(session)
    session.take()
    session.cancel("r")
    session.cancel("r")
    assert session.take() == pb.GatewayFrame(cancels=[pb.Cancel(request_id="r", attempt=0)])
    session.receive(frame(token_ids=[5]))
    session.receive(frame(finish_reason=pb.FINISH_REASON_CANCELLED))
    assert listening == Listening()
    assert session.credits == 1


def test_a_job_cancelled_before_it_was_sent_is_never_sent(session: Session) -> None:
    session.advertise(None)
    submitted(session)
    session.cancel("r")
    assert session.take() is None
    assert session.credits == 2


def test_the_head_is_sent_when_it_changes(session: Session) -> None:
    head = Head(waiting=3, band=Band.PRIORITY, counter=2.5)
    session.advertise(head)
    assert session.take() == pb.GatewayFrame(head=pb.Head(waiting=3, band=pb.BAND_PRIORITY, counter=2.5, alike=1))
    session.advertise(Head(3, Band.PRIORITY, 2.5))
    assert session.take() is None
    session.advertise(None)
    assert session.take() == pb.GatewayFrame(head=pb.Head(waiting=0))


def test_credits_are_given_back_once(session: Session) -> None:
    session.return_credits()
    session.return_credits()
    assert session.take() == pb.GatewayFrame(returned_credits=2)
    assert session.credits == 0
    assert session.take() is None


def test_credits_that_may_stand_are_kept_until_the_engine_asks_them_back(session: Session) -> None:
    session.receive(pb.EngineFrame(credits=2, standing_credits=3))
    session.return_credits()
    assert session.take() == pb.GatewayFrame(returned_credits=1)
    session.receive(pb.EngineFrame())  # says nothing of them
    session.return_credits()
    assert session.take() is None
    session.receive(pb.EngineFrame(standing_credits=0))
    session.return_credits()
    assert session.take() == pb.GatewayFrame(returned_credits=3)
    assert session.credits == 0


def test_frames_stay_within_a_message(session: Session) -> None:
    session.receive(pb.EngineFrame(credits=10))
    for at in range(4):
        long = job(str(at), prompt=(1,) * 250_000)
        session.submit(long, Listening(), attempt=0, counter=0, now=0.0)
    frames = []
    while (sent := session.take()) is not None:
        frames.append(sent)
    assert [[submit.request_id for submit in sent.submits] for sent in frames] == [["0"], ["1"], ["2"], ["3"]]


def test_a_lost_stream_fails_everyone_on_it(session: Session) -> None:
    listeners = [submitted(session, "a"), submitted(session, "b")]
    failure = Failure(Unavailable("lost"), retry=True)
    session.lost(failure)
    assert [listening.failures for listening in listeners] == [[failure], [failure]]
    assert (len(session), session.credits) == (0, 0)


ENDS: list[tuple[pb.Delta, type[Exception], bool]] = [
    (pb.Delta(finish_reason=pb.FINISH_REASON_DEADLINE), DeadlineExceeded, False),
    (pb.Delta(finish_reason=pb.FINISH_REASON_CANCELLED), Unavailable, True),
    *[
        (pb.Delta(finish_reason=pb.FINISH_REASON_ERROR, error=pb.Error(code=code, message="why")), kind, retry)
        for code, kind, retry in (
            (pb.ERROR_CODE_INVALID, InvalidRequest, False),
            (pb.ERROR_CODE_ADAPTER_NOT_FOUND, ModelNotFound, False),
            (pb.ERROR_CODE_ADAPTER_UNAVAILABLE, Unavailable, True),
            (pb.ERROR_CODE_NO_CREDIT, Unavailable, True),
            (pb.ERROR_CODE_DRAINING, Unavailable, True),
        )
    ],
]


@pytest.mark.parametrize(("delta", "kind", "retry"), ENDS)
def test_bad_ends(session: Session, delta: pb.Delta, kind: type[Exception], retry: bool) -> None:
    listening = submitted(session)
    delta.request_id = "r"
    delta.token_ids.append(9)
    session.receive(pb.EngineFrame(deltas=[delta]))
    assert listening.deltas == [Delta((9,))], "the last tokens are delivered before the bad news"
    [failure] = listening.failures
    assert (type(failure.error), failure.retry) == (kind, retry)
    assert len(session) == 0


class Broken(Listening):
    """Takes no news; what `Listening` hears of its end, it hears."""

    def delta(self, delta: Delta) -> None:
        raise RuntimeError("broken")


@pytest.mark.parametrize("finish", [pb.FINISH_REASON_UNSPECIFIED, pb.FINISH_REASON_STOP])
def test_what_goes_wrong_with_one_submission_disturbs_no_other(session: Session, finish: pb.FinishReason) -> None:
    broken = Broken()
    session.credits += 1
    session.submit(job("broken"), broken, attempt=0, counter=0, now=0.0)
    whole = submitted(session, "whole")
    session.take()
    news = frame("broken", token_ids=[5], finish_reason=finish)
    news.deltas.extend(frame("whole", token_ids=[6]).deltas)
    session.receive(news)
    assert whole.deltas == [Delta((6,))]
    assert len(broken.failures) == 1
    assert len(session) == 1
    sent = session.take()
    assert [each.request_id for each in sent.cancels] == ["broken"] if sent else finish
