"""What a session tells the account of a submission, and what it tells the engine of it."""

from dataclasses import dataclass, field

import pytest

from chorus_gateway.engine_client.codec import Failure
from chorus_gateway.engine_client.session import Session
from chorus_gateway.engine_client.usage import NOTHING_USED, Acknowledge, SubmissionId
from chorus_gateway.errors import Unavailable
from chorus_gateway.values import Delta, Usage
from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.gateway.support.values import job

USAGE = pb.Usage(prompt_tokens=1, completion_tokens=2, cached_tokens=3, computed_tokens=4)
USED = Usage(1, 2, 3, 4)
GONE = Failure(Unavailable("The stream broke."))


class Deaf:
    def delta(self, delta: Delta) -> None:
        pass

    def failed(self, failure: Failure) -> None:
        pass


@dataclass
class Told:
    ends: list[tuple[SubmissionId, Usage | None]] = field(default_factory=list)
    breaks: list[SubmissionId] = field(default_factory=list)
    acknowledge: Acknowledge = bool

    def sent(self, submission: SubmissionId, engine_id: str) -> None:
        raise AssertionError("whoever submits says so")

    def ended(self, submission: SubmissionId, usage: Usage | None, acknowledge: Acknowledge) -> None:
        self.ends.append((submission, usage))
        self.acknowledge = acknowledge

    def broken(self, submission: SubmissionId) -> None:
        self.breaks.append(submission)


@pytest.fixture
def session() -> Session:
    session = Session("worker", lambda: None)
    session.receive(pb.EngineFrame(credits=4))
    session.take()
    return session


def submitted(session: Session, request_id: str = "r", attempt: int = 1, *, unsent: bool = False) -> Told:
    told = Told()
    session.submit(job(request_id), Deaf(), attempt=attempt, counter=0, now=0, account=told)
    if not unsent:
        session.take()
    return told


def end(session: Session, request_id: str = "r", attempt: int = 1, finish: int = pb.FINISH_REASON_STOP) -> None:
    usage = None if finish == pb.FINISH_REASON_ERROR else USAGE
    delta = pb.Delta(request_id=request_id, attempt=attempt, finish_reason=pb.FinishReason.Name(finish), usage=usage)
    session.receive(pb.EngineFrame(deltas=[delta]))


def test_an_end_is_told_once(session: Session) -> None:
    told = submitted(session)
    session.receive(pb.EngineFrame(deltas=[pb.Delta(request_id="r", attempt=1, token_ids=[5], usage=USAGE)]))
    assert told.ends == []
    end(session)
    end(session)
    assert told.ends == [(SubmissionId("r", 1), USED)]


def test_a_cancelled_submissions_end_is_told_too(session: Session) -> None:
    told, again = submitted(session), None
    session.cancel("r")
    again = submitted(session, attempt=2)
    end(session, attempt=2)
    assert (told.ends, again.ends) == ([], [(SubmissionId("r", 2), USED)])
    end(session, finish=pb.FINISH_REASON_CANCELLED)
    assert told.ends == [(SubmissionId("r", 1), USED)]


def test_what_was_cancelled_before_it_went_out_used_nothing(session: Session) -> None:
    told = submitted(session, unsent=True)
    session.cancel("r")
    assert told.ends == [(SubmissionId("r", 1), NOTHING_USED)]
    assert told.acknowledge(SubmissionId("r", 1))  # there is nobody to tell
    assert session.take() is None


def test_an_end_without_usage_says_so(session: Session) -> None:
    told = submitted(session)
    end(session, finish=pb.FINISH_REASON_ERROR)
    assert told.ends == [(SubmissionId("r", 1), None)]


def test_a_broken_stream_is_told_of_all_that_had_not_ended(session: Session) -> None:
    accounts = {name: submitted(session, name) for name in ("ended", "open", "cancelled")}
    end(session, "ended")
    session.cancel("cancelled")
    session.lost(GONE)
    assert {name: told.breaks for name, told in accounts.items()} == {
        "ended": [],
        "open": [SubmissionId("open", 1)],
        "cancelled": [SubmissionId("cancelled", 1)],
    }
    assert not accounts["ended"].acknowledge(SubmissionId("ended", 1))


def test_acknowledgements_go_out_in_frames_of_bounded_size(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chorus_gateway.engine_client.session._MAX_FRAME_ACKNOWLEDGED", 2)
    told = submitted(session)
    end(session)
    assert session.take() is None
    for attempt in range(3):
        assert told.acknowledge(SubmissionId("r", attempt))
    frames = [session.take(), session.take()]
    assert [[each.attempt for each in frame.acknowledged] for frame in frames if frame] == [[0, 1], [2]]
    assert session.take() is None
