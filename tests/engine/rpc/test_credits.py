"""The order of credits over streams."""

from hypothesis import given
from hypothesis import strategies as st

from chorus_engine.rpc.credits import CreditLedger, Head

DEFAULT, PRIORITY = 2, 1


def test_nothing_is_granted_to_nobody() -> None:
    ledger = CreditLedger(4)
    ledger.open(1)
    assert ledger.grant(0) == {}


def test_a_lone_stream_gets_all_that_it_has_use_for() -> None:
    ledger = CreditLedger(4)
    ledger.open(1)
    ledger.advertise(1, Head(3, (DEFAULT, 0.0)))
    assert ledger.grant(0) == {1: 3}
    ledger.advertise(1, Head(9, (DEFAULT, 0.0)))
    assert ledger.grant(0) == {1: 1}
    assert ledger.grant(0) == {}


def test_requests_in_the_engine_and_credits_outstanding_share_the_limit() -> None:
    ledger = CreditLedger(4)
    ledger.open(1)
    ledger.advertise(1, Head(9, (DEFAULT, 0.0)))
    assert ledger.grant(3) == {1: 1}
    assert ledger.spend(1)
    assert ledger.grant(4) == {}
    assert ledger.grant(3) == {1: 1}


def test_the_lowest_head_goes_first_band_before_counter() -> None:
    ledger = CreditLedger(1)
    for stream, rank in {1: (DEFAULT, 1.0), 2: (PRIORITY, 9.0), 3: (DEFAULT, 0.5)}.items():
        ledger.open(stream)
        ledger.advertise(stream, Head(5, rank))
    order = []
    for _ in range(3):
        (stream,) = ledger.grant(0)
        order.append(stream)
        ledger.spend(stream)
        ledger.advertise(stream, Head(0, (0, 0.0)))
    assert order == [2, 3, 1]


def test_while_several_wait_each_credit_is_granted_on_a_fresh_head() -> None:
    ledger = CreditLedger(8)
    for stream, counter in ((1, 1.0), (2, 5.0)):
        ledger.open(stream)
        ledger.advertise(stream, Head(5, (DEFAULT, counter)))
    assert ledger.grant(0) == {1: 1, 2: 1}
    assert ledger.grant(0) == {}
    ledger.spend(1)
    ledger.advertise(1, Head(4, (DEFAULT, 7.0)))
    assert ledger.grant(1) == {1: 1}


def test_a_head_stands_until_another_is_shown() -> None:
    ledger = CreditLedger(1)
    ledger.open(1)
    ledger.advertise(1, Head(1, (DEFAULT, 0.0)))
    for _ in range(3):
        assert ledger.grant(0) == {1: 1}
        assert ledger.spend(1)


def test_credits_are_spent_once_and_given_back_once() -> None:
    ledger = CreditLedger(2)
    ledger.open(1)
    ledger.advertise(1, Head(2, (DEFAULT, 0.0)))
    assert ledger.grant(0) == {1: 2}
    assert ledger.spend(1)
    ledger.give_back(1, 100)
    assert ledger.outstanding == 0
    assert not ledger.spend(1)


def test_a_closed_streams_credits_are_free() -> None:
    ledger = CreditLedger(2)
    for stream in (1, 2):
        ledger.open(stream)
    ledger.advertise(1, Head(2, (DEFAULT, 0.0)))
    ledger.grant(0)
    ledger.close(1)
    ledger.advertise(2, Head(2, (DEFAULT, 0.0)))
    assert ledger.grant(0) == {2: 2}


@given(
    limit=st.integers(0, 6),
    acts=st.lists(st.tuples(st.sampled_from("asrg"), st.integers(0, 2), st.integers(0, 4)), max_size=40),
)
def test_the_limit_holds_whatever_happens(limit: int, acts: list[tuple[str, int, int]]) -> None:
    ledger = CreditLedger(limit)
    for stream in range(3):
        ledger.open(stream)
    in_engine = 0
    for act, stream, number in acts:
        if act == "a":
            ledger.advertise(stream, Head(number, (DEFAULT, float(number))))
        elif act == "s":
            in_engine += ledger.spend(stream)
        elif act == "r":
            ledger.give_back(stream, number)
        else:
            in_engine -= min(in_engine, number)
        granted = ledger.grant(in_engine)
        assert all(count > 0 for count in granted.values())
        assert in_engine + ledger.outstanding <= limit
