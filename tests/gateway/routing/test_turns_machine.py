"""The laws of turns under any sequence of arrivals, credits, residency, load, engines that come and go, and time."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from chorus_gateway.engine_client.residency import Tier
from chorus_gateway.queue.fair import QueueRules
from chorus_gateway.queue.lane import Place
from chorus_gateway.routing.member import Member
from chorus_gateway.routing.registry import Announcement
from chorus_gateway.routing.turns import Turn
from chorus_gateway.values import NOTHING, Band, Needs
from tests.gateway.routing.test_turns import MODEL, Stage
from tests.gateway.support.members import grant, hold, load, member
from tests.support.often import often

ENGINES = st.sampled_from(["one", "two", "three"])
ADAPTERS = st.sampled_from([None, "d", "e", "f"])


class TurnsMachine(RuleBasedStateMachine):
    deficit = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.engines = {"one": member("one"), "two": member("two"), "three": member("three", rank=16)}
        rules = QueueRules(band_patience=1 << 30)
        self.stage = Stage(*self.engines.values(), deficit=self.deficit, rules=rules)
        self.waiting: list[Place] = []

    @rule(adapter=ADAPTERS, tenant=st.sampled_from("ab"), band=st.sampled_from(list(Band)))
    def arrives(self, adapter: str | None, tenant: str, band: Band) -> None:
        needs = Needs(rank=32 if adapter == "f" else 8) if adapter else NOTHING
        self.waiting.append(self.stage.enter("r", adapter, tenant, band, needs))

    @rule(at=st.integers(0, 20))
    def leaves(self, at: int) -> None:
        if at < len(self.waiting):
            self.stage.turns.leave(self.waiting.pop(at))

    @rule(engine=ENGINES, adapter=st.sampled_from("def"), tier=st.sampled_from(Tier))
    def shows(self, engine: str, adapter: str, tier: Tier) -> None:
        hold(self.engines[engine], **{adapter: tier})
        if self.engines[engine] in self.stage.members:
            self.stage.turns.heard(self.engines[engine])

    @rule(engine=ENGINES, requests=st.integers(0, 10))
    def is_as_busy(self, engine: str, requests: int) -> None:
        load(self.engines[engine], requests)

    @rule(engine=ENGINES, stalled=st.booleans())
    def hangs_or_comes_back(self, engine: str, stalled: bool) -> None:
        self.engines[engine].announced = Announcement(engine, engine, stalled=stalled)
        self.stage.turns.aim_again(MODEL)

    @rule(engine=ENGINES)
    def goes_or_comes(self, engine: str) -> None:
        chosen, members = self.engines[engine], self.stage.members
        members.remove(chosen) if chosen in members else members.append(chosen)
        self.stage.turns.aim_again(MODEL)

    @rule(seconds=st.sampled_from([0.05, 0.2, 3.0]))
    def time_passes(self, seconds: float) -> None:
        self.stage.after(seconds)

    @rule(engine=ENGINES, credits=st.integers(1, 3))
    def grants(self, engine: str, credits: int) -> None:
        if self.engines[engine] not in self.stage.members:
            return
        grant(self.engines[engine], credits)
        anywhere = any(not place.aim.engines and engine not in place.aim.never for place in self.waiting)
        before = len(self.waiting)
        self.stage.turns.serve(MODEL, self.send)
        if anywhere and self.engines[engine].takes:
            assert len(self.waiting) < before, "a credit is not wasted while a job waits that may go anywhere"

    def send(self, turn: Turn) -> None:
        place, chosen = turn.place, turn.member
        assert chosen.session.credits > 0
        assert chosen.takes
        assert self.may_go(place, chosen)
        rivals = [other for other in self.waiting if self.may_go(other, chosen)]
        best = min(map(self.rank, rivals))
        if self.rank(place) != best:
            assert turn.near, "the best of those that may go there, or one that has its adapter there"
            assert place.job.band == best[0]
            assert self.rank(place)[1] <= best[1] + self.deficit
            assert self.deficit
        self.stage.turns.take(turn)
        self.waiting.remove(place)
        chosen.session.credits -= 1

    def may_go(self, place: Place, chosen: Member) -> bool:
        """To one that it is aimed at, or where those are too busy or take nothing."""
        takers = [each for each in self.stage.members if each.takes]
        holders = [each for each in self.stage.members if each.description.can_hold(place.job.model.needs)]
        share = sum(each.load for each in takers) / sum(each.capacity for each in takers)
        limit = 1.25 * share + 1 / 8
        able = [each for each in takers if each in (holders or takers)]
        mine = [each for each in able if each.id in place.aim.engines]
        free = [each for each in mine if place.aim.firm or each.load / each.capacity < limit]
        return chosen in (free or able)

    def rank(self, place: Place) -> tuple[Band, float, int]:
        """A tenant's own jobs, and tenants with equal counters, go in order of arrival."""
        return place.job.band, self.stage.queue.counter(place.job), place.order

    @invariant()
    def laws_hold(self) -> None:
        self.stage.queue.check()
        self.stage.turns.check()
        assert len(self.stage.queue) == len(self.waiting)

    @invariant()
    def only_adapters_are_aimed_and_only_where_there_is_a_choice(self) -> None:
        for place in self.waiting:
            assert not place.aim.engines or place.job.model.adapter is not None


TurnsMachine.TestCase.settings = settings(max_examples=often(60), stateful_step_count=40, deadline=None)
TestTurns = TurnsMachine.TestCase


class NearTurnsMachine(TurnsMachine):
    deficit = 100.0


NearTurnsMachine.TestCase.settings = settings(max_examples=often(40), stateful_step_count=40, deadline=None)
TestNearTurns = NearTurnsMachine.TestCase
