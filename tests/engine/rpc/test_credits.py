"""The order of credits over streams."""

from hypothesis import given
from hypothesis import strategies as st

from chorus_engine.core.request import Band
from chorus_engine.rpc.credits import CreditLedger, Head
from chorus_engine.rpc.seats import SeatPlan, Seats


class Bench:
    """A ledger with streams that are open, and requests in the engine."""

    def __init__(self, *streams: int, plan: SeatPlan) -> None:
        self.now = 0.0
        self.seats = Seats(plan, lambda: self.now)
        self.ledger = CreditLedger(self.seats)
        self._serial = 0
        for stream in streams:
            self.ledger.open(stream)

    def show(
        self, stream: int, counter: float = 0.0, *, waiting: int = 9, band: Band = Band.DEFAULT, tenant: str = "t"
    ) -> None:
        self.ledger.advertise(stream, Head(waiting, band, counter, tenant))

    def sit(self, tenant: str = "t", *, top: bool = False) -> str:
        self._serial += 1
        self.seats.take(str(self._serial), tenant, top=top)
        return str(self._serial)


def bench(*streams: int, limit: int = 4) -> Bench:
    return Bench(*streams, plan=SeatPlan(limit, limit))


def test_nothing_is_granted_to_nobody() -> None:
    assert bench(1).ledger.grant() == {}


def test_a_lone_stream_gets_all_that_it_has_use_for() -> None:
    one = bench(1)
    one.show(1, waiting=3)
    assert one.ledger.grant() == {1: 3}
    one.show(1)
    assert one.ledger.grant() == {1: 1}
    assert one.ledger.grant() == {}


def test_requests_in_the_engine_and_credits_outstanding_share_the_limit() -> None:
    one = bench(1)
    one.show(1)
    requests = [one.sit() for _ in range(3)]
    assert one.ledger.grant() == {1: 1}
    assert one.ledger.spend(1)
    one.sit()
    assert one.ledger.grant() == {}
    one.seats.leave(requests[0])
    assert one.ledger.grant() == {1: 1}


def test_the_lowest_head_goes_first_band_before_counter() -> None:
    three = bench(1, 2, 3, limit=1)
    three.show(1, 1.0)
    three.show(2, 9.0, band=Band.PRIORITY)
    three.show(3, 0.5)
    order = []
    for _ in range(3):
        (stream,) = three.ledger.grant()
        order.append(stream)
        three.ledger.spend(stream)
        three.show(stream, waiting=0)
    assert order == [2, 3, 1]


def test_a_head_whose_band_has_waited_for_too_long_goes_before_all() -> None:
    two = bench(1, 2, limit=1)
    two.show(1, 0.0, band=Band.PRIORITY)
    two.ledger.advertise(2, Head(1, Band.FLEX, 50.0, aged=True))
    assert two.ledger.grant() == {2: 1}


def test_a_band_is_passed_over_for_so_long_and_no_longer() -> None:
    three = bench(1, 2, 3, limit=1)
    three.show(1, band=Band.PRIORITY)
    three.show(2, band=Band.DEFAULT)
    three.show(3, band=Band.FLEX)
    order, raised = [], []
    for _ in range(36):
        (stream,) = three.ledger.grant()
        order.append(stream)
        assert three.ledger.spend(stream)
        raised.append(three.ledger.spend_raised(stream))
    assert order == 2 * [*[1] * 16, 2, 3]
    assert raised == [stream != 1 for stream in order]


def test_a_band_is_not_passed_over_where_the_seat_is_not_its_own() -> None:
    two = Bench(1, 2, plan=SeatPlan.of(16, priority_share=0.125))
    two.show(1, band=Band.PRIORITY, waiting=100)
    two.show(2, band=Band.FLEX, waiting=100)
    inside = [two.sit() for _ in range(14)]
    for _ in range(30):
        assert two.ledger.grant() == {1: 1}, "of 16 rows two are the top band's"
        two.ledger.give_back(1, 1)
    two.seats.leave(inside.pop())
    assert two.ledger.grant() == {1: 1}


def test_of_one_like_the_head_each_credit_is_granted_on_a_fresh_head() -> None:
    two = bench(1, 2, limit=8)
    two.show(1, 1.0)
    two.show(2, 5.0)
    assert two.ledger.grant() == {1: 1, 2: 1}
    assert two.ledger.grant() == {}
    two.ledger.spend(1)
    two.show(1, 7.0)
    assert two.ledger.grant() == {1: 1}


def test_with_a_stride_as_many_go_to_the_lowest_as_bring_it_level() -> None:
    two = bench(1, 2, limit=8)
    for stream, counter in ((1, 0.0), (2, 50.0)):
        two.ledger.advertise(stream, Head(20, Band.DEFAULT, counter, "t", stride=10.0, alike=20))
    assert two.ledger.grant() == {1: 7, 2: 1}, "up to level, then in turns"


def test_a_stream_gets_no_more_than_it_has_like_its_head_while_others_wait() -> None:
    two = bench(1, 2, limit=8)
    two.ledger.advertise(1, Head(20, Band.DEFAULT, 0.0, "light", stride=1.0, alike=2))
    two.ledger.advertise(2, Head(20, Band.DEFAULT, 5000.0, "heavy", stride=1.0, alike=20))
    assert two.ledger.grant() == {1: 2, 2: 6}
    alone = bench(1, limit=8)
    alone.ledger.advertise(1, Head(20, Band.DEFAULT, 0.0, "light", stride=1.0, alike=2))
    assert alone.ledger.grant() == {1: 8}


def test_a_head_stands_until_another_is_shown() -> None:
    one = bench(1, limit=1)
    one.show(1, waiting=1)
    for _ in range(3):
        assert one.ledger.grant() == {1: 1}
        assert one.ledger.spend(1)


def test_credits_are_spent_once_and_given_back_once() -> None:
    one = bench(1, limit=2)
    one.show(1, waiting=2)
    assert one.ledger.grant() == {1: 2}
    assert one.ledger.spend(1)
    one.ledger.give_back(1, 100)
    assert one.ledger.outstanding == 0
    assert not one.ledger.spend(1)


def test_a_closed_streams_credits_are_free() -> None:
    two = bench(1, 2, limit=2)
    two.show(1, waiting=2)
    two.ledger.grant()
    two.ledger.close(1)
    two.show(2, waiting=2)
    assert two.ledger.grant() == {2: 2}


PLAN = SeatPlan.of(16, priority_share=0.125, kept=1)


def test_what_a_plan_holds_back() -> None:
    assert SeatPlan(limit=18, rows=16, reserved=2, kept=1) == PLAN
    assert SeatPlan.of(4, priority_share=0.125, kept=1) == SeatPlan(limit=6, rows=4), "too few rows for either"
    assert SeatPlan.of(1, priority_share=0.5, kept=5).reserved == 0, "something is left for everybody"


def test_one_tenant_alone_has_all_seats() -> None:
    one = Bench(1, plan=PLAN)
    one.show(1, waiting=100)
    assert one.ledger.grant() == {1: 18}


def test_a_seat_is_kept_for_a_tenant_that_has_nothing_in_the_engine() -> None:
    two = Bench(1, 2, plan=PLAN)
    two.show(2, waiting=1, tenant="light")
    two.show(2, waiting=0)
    two.show(1, waiting=100, tenant="heavy")
    two.sit("heavy")
    two.ledger.advertise(1, Head(100, Band.DEFAULT, 0.0, "heavy", stride=1.0, alike=100))
    assert two.ledger.grant() == {1: 14}, "15 of 16 rows"
    two.show(2, 500.0, waiting=3, tenant="light")
    assert two.ledger.grant() == {2: 1}
    assert two.ledger.spend(2)
    light = two.sit("light")
    two.show(2, 500.0, waiting=2, tenant="light")
    assert two.ledger.grant() == {}, "it has something in the engine"
    two.seats.leave(light)
    assert two.ledger.grant() == {2: 1}


def test_seats_are_reserved_for_the_top_band_while_it_is_asked_for() -> None:
    two = Bench(1, 2, plan=SeatPlan.of(16, priority_share=0.125))
    two.show(2, waiting=1, band=Band.PRIORITY)
    assert two.ledger.grant() == {2: 1}
    two.ledger.spend(2)
    top = two.sit(top=True)
    two.show(2, waiting=0)
    two.ledger.advertise(1, Head(100, Band.DEFAULT, 0.0, "t", stride=1.0, alike=100))
    assert two.ledger.grant() == {1: 14}, "of 16 rows the top band has one and one is held back"
    two.show(2, waiting=5, band=Band.PRIORITY)
    assert two.ledger.grant() == {2: 1}, "up to the two rows that are its own; the others are taken"
    two.ledger.give_back(2, 1)
    two.seats.leave(top)
    two.show(2, waiting=0)
    two.now += 601
    assert two.ledger.grant() == {1: 4}, "the top band has been forgotten"


@given(
    plan=st.builds(SeatPlan.of, st.integers(1, 20), priority_share=st.floats(0, 0.5), kept=st.integers(0, 3)),
    acts=st.lists(st.tuples(st.sampled_from("asrlt"), st.integers(0, 2), st.integers(0, 20)), max_size=60),
)
def test_the_limit_holds_whatever_happens(plan: SeatPlan, acts: list[tuple[str, int, int]]) -> None:
    many = Bench(0, 1, 2, plan=plan)
    heads, inside = [Head(0)] * 3, list[str]()
    for act, stream, number in acts:
        if act == "a":
            heads[stream] = Head(
                number,
                Band(1 + number % 3),
                float(number),
                f"t{number % 4}",
                stride=number % 2,
                aged=number % 5 == 0,
                alike=1 + number % 7,
            )
            many.ledger.advertise(stream, heads[stream])
        elif act == "s" and many.ledger.spend(stream):
            inside.append(many.sit(heads[stream].tenant, top=heads[stream].top))
        elif act == "r":
            many.ledger.give_back(stream, number)
        elif act == "l" and inside:
            many.seats.leave(inside.pop(number % len(inside)))
        elif act == "t":
            many.now += 60.0 * number
        granted = many.ledger.grant()
        assert all(count > 0 for count in granted.values())
        assert len(many.seats) == len(inside)
        assert len(inside) + many.ledger.outstanding <= plan.limit
        many.seats.check()
        if not inside and not many.ledger.outstanding:
            assert not any(head.waiting for head in heads), "an engine with nothing to do grants to whoever waits"


def standing(*streams: int, rows: int = 32, most: int = 16) -> Bench:
    stand = Bench(*streams, plan=SeatPlan(rows, rows))
    stand.ledger = CreditLedger(stand.seats, standing=most)
    for stream in streams:
        stand.ledger.open(stream)
    assert stand.ledger.grant() == {}
    return stand


def test_credits_stand_while_the_engine_is_quiet_and_are_made_up_for() -> None:
    one = standing(1, 2)
    assert one.ledger.review()
    assert one.ledger.standing == 4  # of a quarter of the rows
    assert one.ledger.stand() == {1: 4, 2: 4}
    assert not one.ledger.review()
    assert one.ledger.stand() == {}
    assert one.ledger.spend(1)
    one.sit()
    assert one.ledger.stand() == {1: 1}
    assert one.ledger.outstanding + len(one.seats) == 9


def test_no_credit_stands_once_requests_wait_or_half_of_the_rows_are_taken() -> None:
    one = standing(1, 2, rows=8, most=1)
    assert one.ledger.review()
    assert one.ledger.stand() == {1: 1, 2: 1}
    requests = [one.sit() for _ in range(5)]
    assert one.ledger.review()
    assert (one.ledger.standing, one.ledger.stand()) == (0, {})
    one.show(2, waiting=9)
    assert one.ledger.grant() == {2: 1}  # the one that stands still counts
    one.ledger.give_back(1, 1)
    assert one.ledger.grant() == {2: 1}
    for request in requests:
        one.seats.leave(request)
    assert not one.ledger.review()  # it waits still
    one.show(2, waiting=0)
    assert one.ledger.review()
    assert one.ledger.standing == 1


def test_an_engine_without_room_lets_none_stand() -> None:
    one = standing(1)
    assert one.ledger.review()
    assert one.ledger.review(full=True)
    assert one.ledger.standing == 0


def test_who_waits_before_the_door_takes_nobodys_seat() -> None:
    outside = 0
    seats = Seats(SeatPlan(4, 4), outside=lambda: outside)
    ledger = CreditLedger(seats)
    ledger.open(1)
    for number in range(4):
        seats.take(str(number), "a", top=False)
    ledger.advertise(1, Head(5, tenant="b"))
    assert ledger.grant() == {}
    outside = 3
    assert ledger.grant() == {1: 3}
