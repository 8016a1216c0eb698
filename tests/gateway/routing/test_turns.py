"""Which waiting job goes to which engine next: real queue, real sessions, no sockets, a clock that the test moves."""

import pytest

from chorus_gateway.engine_client.residency import Tier
from chorus_gateway.queue.fair import FairQueue, QueueRules
from chorus_gateway.queue.lane import Place
from chorus_gateway.routing.member import Member
from chorus_gateway.routing.promises import Promises
from chorus_gateway.routing.registry import Announcement
from chorus_gateway.routing.turns import Patience, Turn, Turns
from chorus_gateway.routing.view import View
from chorus_gateway.values import NOTHING, Band, Needs, Tenant
from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.gateway.support.members import grant, head, hold, load, member
from tests.gateway.support.values import BASE_DIGEST, job

MODEL = BASE_DIGEST


class Stage:
    def __init__(self, *members: Member, deficit: float = 0.0, rules: QueueRules | None = None) -> None:
        self.now = 0.0
        self.members = list(members)
        self.promises = Promises(lambda: self.now)
        self.queue = FairQueue(max_jobs=10_000, max_bytes=1 << 30, rules=rules or QueueRules())
        look = lambda model: View(self.members, self.promises)  # noqa: E731
        self.turns = Turns(
            self.queue, look, self.promises, Patience(first=0.1, last=2.0), lambda: self.now, deficit=deficit
        )

    def enter(
        self,
        name: str,
        adapter: str | None = None,
        tenant: str = "acme",
        band: Band = Band.DEFAULT,
        needs: Needs = NOTHING,
    ) -> Place:
        return self.turns.enter(job(name, adapter=adapter, tenant=tenant, band=band, needs=needs))

    def serve(self) -> list[tuple[str, str]]:
        """Spends all credits that can be: (job, engine). Those for which there is no job go back."""
        sent = []

        def send(turn: Turn) -> None:
            self.turns.take(turn)
            turn.member.session.credits -= 1
            sent.append((turn.place.job.request_id, turn.member.id))

        self.turns.serve(MODEL, send)
        self.queue.check()
        return sent

    def after(self, seconds: float) -> None:
        self.now += seconds
        self.turns.lapse(MODEL)


@pytest.fixture
def one() -> Member:
    return member("one", d=Tier.GPU)


@pytest.fixture
def two() -> Member:
    return member("two")


def test_a_job_waits_for_the_engine_that_has_its_adapter(one: Member, two: Member) -> None:
    stage = Stage(one, two)
    stage.enter("r", "d")
    grant(two)
    assert stage.serve() == []
    grant(one)
    assert stage.serve() == [("r", "one")]


def test_it_stands_in_nobodys_way(one: Member, two: Member) -> None:
    stage = Stage(one, two)
    stage.enter("waits", "d")
    stage.enter("base")
    stage.enter("base too")
    grant(two)
    assert stage.serve() == [("base", "two")]
    grant(one, 2)
    assert stage.serve() == [("waits", "one"), ("base too", "one")]


def test_every_engine_is_told_of_what_may_go_to_it(one: Member, two: Member) -> None:
    stage = Stage(one, two)
    stage.serve()
    assert (head(one), head(two)) == (None, None)
    stage.enter("adapter", "d", band=Band.PRIORITY)
    stage.enter("base")
    stage.serve()
    first, second = head(one), head(two)
    assert first is not None
    assert second is not None
    assert (first.waiting, first.band, second.waiting, second.band) == (2, pb.BAND_PRIORITY, 1, pb.BAND_DEFAULT)


def test_credits_for_which_an_engine_has_nothing_to_do_go_back(one: Member, two: Member) -> None:
    stage = Stage(one, two)
    for name in ("one", "another", "a third"):
        stage.enter(name, "d")
    grant(one)
    grant(two)
    assert stage.serve() == [("one", "one")]
    assert two.session.credits == 0
    frame = two.session.take()
    assert frame is not None
    assert frame.returned_credits == 1


def test_past_the_bound_a_hot_adapter_goes_elsewhere_at_once(one: Member, two: Member) -> None:
    stage = Stage(one, two)
    load(one, 3)
    stage.enter("r", "d")
    grant(one)
    grant(two)
    assert stage.serve() == [("r", "two")]


def test_the_bound_is_seen_while_a_job_waits(one: Member, two: Member) -> None:
    stage = Stage(one, two)
    stage.enter("r", "d")
    grant(two)
    assert stage.serve() == []
    load(one, 8)
    grant(two)
    assert stage.serve() == [("r", "two")]


def test_patience_ends_when_another_engine_has_room(one: Member, two: Member) -> None:
    stage = Stage(one, two)
    for name in ("first", "second"):
        stage.enter(name, "d")
    load(one, 7)
    load(two, 7)
    grant(two)
    stage.after(0.09)
    assert stage.serve() == []
    stage.after(0.02)
    grant(two, 2)
    assert stage.serve() == [("first", "two")], "as many as there is room for"
    assert stage.turns.aimed(MODEL)


def test_when_all_are_full_a_job_goes_on_waiting_for_the_right_one(one: Member, two: Member) -> None:
    stage = Stage(one, two)
    for at in range(3):
        stage.enter(f"r{at}", "d")
    for _ in range(30):
        load(one, 8)
        load(two, 8)
        stage.after(0.1)
        grant(one)  # and spends it on somebody else's
        one.session.credits -= 1
    grant(two)
    assert stage.serve() == []
    grant(one)
    assert stage.serve() == [("r0", "one")]


def test_an_engine_that_grants_nothing_at_all_is_given_up(one: Member, two: Member) -> None:
    stage = Stage(one, two)
    stage.enter("r", "d")
    for _ in range(25):
        load(one, 8)
        load(two, 8)
        stage.after(0.1)
    grant(two)
    assert stage.serve() == [("r", "two")]


def test_an_adapter_that_comes_to_an_engine_draws_its_jobs_there(two: Member) -> None:
    one = member("one")
    stage = Stage(one, two)
    stage.enter("r", "d")
    hold(one, d=Tier.FETCHING)
    stage.turns.heard(one)
    grant(two)
    assert stage.serve() == []
    hold(one, d=Tier.ABSENT)
    stage.turns.heard(one)
    grant(two)
    assert stage.serve() == [("r", "two")]


def test_the_first_to_be_sent_decides_for_the_others(two: Member) -> None:
    one = member("one")
    stage = Stage(one, two)
    for at in range(3):
        stage.enter(f"r{at}", "d")
    grant(two)
    assert stage.serve() == [("r0", "two")]
    grant(one, 3)
    assert stage.serve() == [], "engine two is loading it"
    grant(two, 2)
    assert stage.serve() == [("r1", "two"), ("r2", "two")]
    hold(two, d=Tier.GPU)
    stage.turns.heard(two)
    assert len(stage.promises) == 0


def test_engines_that_drain_hang_or_are_gone_get_nothing(one: Member, two: Member) -> None:
    stage = Stage(one, two)
    stage.enter("r", "d")
    grant(one)
    grant(two)
    one.announced = Announcement("one", "one", stalled=True)
    assert stage.serve() == [("r", "two")]
    one.announced = Announcement("one", "one", draining=True)
    stage.enter("base")
    grant(one)
    assert stage.serve() == []
    assert head(one) is None
    assert one.session.credits == 0
    stage.members.remove(one)
    stage.enter("late", "d")
    stage.turns.aim_again(MODEL)
    grant(two)
    assert stage.serve() == [("base", "two")]


def test_the_nearest_of_several_and_the_least_loaded_of_those(one: Member) -> None:
    also, host = member("also", d=Tier.GPU), member("host", d=Tier.HOST)
    stage = Stage(host, one, also)
    load(one, 2)
    load(also, 1)
    load(host, 2)
    stage.enter("r", "d")
    for each in stage.members:
        grant(each)
    assert stage.serve() == [("r", "also")]


def test_thousands_that_wait_cost_little_each_time(one: Member, two: Member) -> None:
    """Lanes are counted, not jobs."""
    stage = Stage(one, two)
    for at in range(3000):
        stage.enter(f"r{at}", f"adapter-{at}" if at % 2 else "d", tenant=f"t{at % 50}")
    assert len(stage.queue.fronts(MODEL)) == 2
    hold(one, **{f"adapter-{at}": Tier.HOST for at in range(3000)})
    stage.turns.heard(one)
    assert len(stage.queue.fronts(MODEL)) == 1
    stage.members.remove(one)
    stage.turns.aim_again(MODEL)
    stage.queue.check()
    grant(two, 3000)
    assert len(stage.serve()) == 3000


def test_an_adapter_goes_only_where_it_can_be_held() -> None:
    small, large = member("small", rank=16), member("large", rank=64)
    stage = Stage(small, large)
    stage.enter("wide", "w", needs=Needs(rank=32))
    grant(small, 2)
    stage.enter("base")
    assert stage.serve() == [("base", "small")]
    stage.after(10)
    grant(small)
    assert stage.serve() == []
    grant(large)
    assert stage.serve() == [("wide", "large")]


def test_it_waits_for_an_engine_that_can_hold_it_and_takes_nothing_now() -> None:
    small, large = member("small", rank=16), member("large", rank=64)
    large.announced = Announcement("large", "large", stalled=True)
    stage = Stage(small, large)
    stage.enter("wide", "w", needs=Needs(rank=32))
    grant(small)
    assert stage.serve() == []


def test_modules_outside_the_layers_need_an_engine_that_serves_them() -> None:
    stage = Stage(member("none"), member("head", outer="lm_head"), member("all", outer="embed_tokens lm_head"))
    stage.enter("r", "v", needs=Needs(8, frozenset({"embed_tokens", "lm_head"})))
    for each in stage.members:
        grant(each)
    assert stage.serve() == [("r", "all")]


def test_where_no_engine_can_hold_it_any_of_them_says_why() -> None:
    stage = Stage(member("one", rank=16), member("two", rank=16))
    stage.enter("wide", "w", needs=Needs(rank=32))
    grant(stage.members[0])
    grant(stage.members[1])
    assert len(stage.serve()) == 1


def test_one_that_has_lost_its_patience_goes_to_the_engine_that_comes_and_can_hold_it() -> None:
    small = member("small", rank=16)
    stage = Stage(small)
    stage.enter("wide", "w", needs=Needs(rank=32))
    stage.after(10)
    large = member("large", rank=64)
    stage.members.append(large)
    stage.turns.aim_again(MODEL)
    grant(small)
    assert stage.serve() == []
    grant(large)
    assert stage.serve() == [("wide", "large")]


def test_an_engine_that_joins_and_cannot_hold_it_is_passed_over() -> None:
    large, second = member("large", rank=64), member("second", rank=64)
    stage = Stage(large, second)
    stage.enter("wide", "w", needs=Needs(rank=32))
    small = member("small", rank=16)
    stage.members.append(small)
    stage.turns.aim_again(MODEL)
    grant(small)
    assert stage.serve() == []


@pytest.mark.parametrize(("behind", "first"), [(0, "near"), (500, "near"), (513, "far")])
def test_a_job_whose_adapter_is_near_goes_first_within_a_deficit(
    one: Member, two: Member, behind: float, first: str
) -> None:
    stage = Stage(one, two, deficit=512)
    stage.enter("far", "e", tenant="a")
    stage.enter("near", "d", tenant="b")
    stage.queue.charge(Tenant("b"), Band.DEFAULT, behind)
    grant(one)
    assert stage.serve() == [(first, "one")]


def test_the_deficit_is_within_a_band(one: Member, two: Member) -> None:
    stage = Stage(one, two, deficit=512)
    stage.enter("near", "d", tenant="b", band=Band.DEFAULT)
    stage.enter("far", "e", tenant="a", band=Band.PRIORITY)
    grant(one)
    assert stage.serve() == [("far", "one")]


def test_nobody_is_passed_over_for_ever(one: Member, two: Member) -> None:
    """Each time the tenant that goes before is charged for it."""
    stage = Stage(one, two, deficit=512)
    stage.enter("far", "e", tenant="a")
    for at in range(100):
        stage.enter(f"near{at}", "d", tenant="b")
    grant(one, 100)
    served = [name for name, _ in stage.serve()]
    assert served.index("far") == 1 + 512 // (1 + 2 * 16)


def test_engines_are_told_of_a_band_that_was_passed_over_too_often(one: Member) -> None:
    stage = Stage(one, rules=QueueRules(band_patience=2))
    for at in range(4):
        stage.enter(f"p{at}", band=Band.PRIORITY)
    stage.enter("flex", band=Band.FLEX, tenant="b")
    grant(one, 2)
    assert [name for name, _ in stage.serve()] == ["p0", "p1"]
    shown = head(one)
    assert shown is not None
    assert (shown.aged, shown.band, shown.tenant_tag, shown.waiting) == (True, pb.BAND_FLEX, "b", 3)
    grant(one)
    assert stage.serve() == [("flex", "one")]
    shown = head(one)
    assert shown is not None
    assert (shown.aged, shown.band, shown.alike) == (False, pb.BAND_PRIORITY, 2)
