"""Credits are conserved, whatever is done in whatever order."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chorus_gateway.engine_client.codec import Failure
from chorus_gateway.engine_client.session import Session
from chorus_gateway.values import Delta
from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.gateway.support.values import job
from tests.support.often import often


class Deaf:
    def delta(self, delta: Delta) -> None: ...

    def failed(self, failure: Failure) -> None: ...


class SessionMachine(RuleBasedStateMachine):
    """On the other side stands an engine that counts."""

    def __init__(self) -> None:
        super().__init__()
        self.session = Session("worker", lambda: None)
        self.granted = self.spent = self.returned = 0
        self.names = 0
        self.open: set[str] = set()
        self.running: set[str] = set()  # at the engine

    @rule(credits=st.integers(1, 4))
    def grants(self, credits: int) -> None:
        self.granted += credits
        self.session.receive(pb.EngineFrame(credits=credits))

    @precondition(lambda self: self.session.credits)
    @rule()
    def submits(self) -> None:
        self.names += 1
        self.open.add(str(self.names))
        self.session.submit(job(str(self.names)), Deaf(), attempt=0, counter=0, now=0)

    @rule(data=st.data())
    def cancels(self, data: st.DataObject) -> None:
        if self.open:
            name = data.draw(st.sampled_from(sorted(self.open)))
            self.open.discard(name)
            self.session.cancel(name)

    @rule()
    def returns(self) -> None:
        self.session.return_credits()

    @rule()
    def talks(self) -> None:
        while (frame := self.session.take()) is not None:
            for cancel in frame.cancels:
                assert cancel.request_id in self.running, "a cancel never comes before its submit"
                self.running.discard(cancel.request_id)
            self.returned += frame.returned_credits
            self.spent += len(frame.submits)
            self.running |= {submit.request_id for submit in frame.submits}
            assert self.spent + self.returned <= self.granted
        assert self.running == self.open
        assert self.granted == self.spent + self.returned + self.session.credits

    @invariant()
    def what_is_open_is_open(self) -> None:
        assert len(self.session) == len(self.open)
        assert self.session.credits >= 0


SessionMachine.TestCase.settings = settings(max_examples=often(60), stateful_step_count=40, deadline=None)
TestSession = SessionMachine.TestCase
