"""What is written is read back, whatever is torn."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from chorus_gateway.ledger import records
from chorus_gateway.ledger.tally import Tally
from chorus_gateway.ledger.values import Closing, Outcome
from chorus_gateway.values import Band, Price, Usage
from tests.gateway.support.ledger import USED, admission, name

WHOLE = admission("req_a", adapter="acme/sql", generation=3, band=Band.FLEX, price=Price(1, 2, 3), n=2)
CLOSING = Closing(Outcome.DEADLINE, Usage(10, 3, 6), 77)
STORY = [
    records.admitted(WHOLE),
    records.sent("req_a", name(), "engine-1"),
    records.sent("req_a", name(choice=1), "engine-2"),
    records.closed("req_a", CLOSING, [(name(), USED)]),
    records.ended("req_a", name(choice=1), None),
]


def read(data: bytes) -> dict[str, Tally]:
    tallies: dict[str, Tally] = {}
    for line in records.lines(data):
        records.apply(line, tallies)
    return tallies


def test_a_request_is_read_as_it_was_told() -> None:
    tally = read(b"".join(STORY))["req_a"]
    assert (tally.admission, tally.closing, tally.settled) == (WHOLE, CLOSING, True)
    assert {name: (sent.engine_id, sent.usage) for name, sent in tally.sent.items()} == {
        name(): ("engine-1", USED),
        name(choice=1): ("engine-2", None),
    }


def test_what_came_for_a_client_that_got_none_of_it_is_told_too() -> None:
    lost = replace(CLOSING, delivered=Usage(0, 0), cost=0, lost=Usage(10, 3, 6))
    data = records.admitted(WHOLE) + records.closed("req_a", lost, [(name(), USED)])
    tally = read(data)["req_a"]
    assert (tally.closing, tally.sent[name()].usage) == (lost, USED)
    assert read(records.story(tally))["req_a"].closing == lost


@given(st.integers(0, sum(map(len, STORY))))
def test_a_file_cut_off_anywhere_tells_what_was_whole(size: int) -> None:
    whole, left = 0, size
    for line in STORY:
        left -= len(line)
        whole += left >= 0 or left == -1  # a line without its end of line is whole too
    assert len(list(records.lines(b"".join(STORY)[:size]))) == whole


@given(st.integers(0, len(STORY[2]) - 2), st.integers(1, 255))
def test_a_damaged_line_is_left_out(at: int, change: int) -> None:
    damaged = bytearray(STORY[2])
    damaged[at] ^= change
    found = read(b"".join([*STORY[:2], bytes(damaged), *STORY[3:]]))["req_a"]
    assert found.closing == CLOSING
    assert found.sent[name()].usage == USED


def test_what_follows_a_lost_admission_is_ignored() -> None:
    other = records.admitted(replace(WHOLE, request_id="req_b"))
    assert read(b"".join([*STORY[1:], other])).keys() == {"req_b"}
