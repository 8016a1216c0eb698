"""From submissions to what is billed."""

import pytest

from chorus_gateway.ledger.tally import Sent, Tally
from chorus_gateway.ledger.values import Closing, Outcome, UsageRow
from chorus_gateway.prices.cost import cost
from chorus_gateway.values import Usage
from tests.gateway.support.ledger import PRICE, admission, name


def tally(n: int = 1, **sent: Usage | None) -> Tally:
    """Submissions are written `c<choice>a<attempt>`."""
    found = Tally(admission(n=n))
    for written, usage in sent.items():
        choice, attempt = written[1:].split("a")
        found.sent[name(choice=int(choice), attempt=int(attempt))] = Sent("engine", ended=True, usage=usage)
    return found


def row(found: Tally) -> UsageRow:
    made = found.row()
    assert made is not None
    return made


def test_what_was_delivered_and_what_was_computed() -> None:
    found = tally(c0a0=Usage(10, 0, 0, 10), c0a1=Usage(10, 9, 2, 17))
    found.closing = Closing(Outcome.OK, Usage(10, 7, 2), 5)  # a stop string ended it two tokens before
    assert row(found).computed == 27
    assert row(found).closing.delivered.completion_tokens == 7


def test_an_orphan_is_billed_by_its_engines() -> None:
    found = tally(c0a0=Usage(10, 3, 0, 12), c0a1=Usage(10, 9, 2, 17))
    made = row(found)
    assert (made.closing.outcome, made.closing.delivered) == (Outcome.ORPHANED, Usage(10, 9, 2))
    assert made.closing.cost == cost(PRICE, Usage(10, 9, 2))
    assert made.computed == 29


def test_an_orphans_prompts_count_once_and_with_an_answer() -> None:
    found = tally(
        n=2,
        c0a0=Usage(10, 1, 4, 7),
        c1a0=Usage(10, 2, 9, 3),
        c2a0=Usage(7, 0, 5, 2),
        c3a0=None,
        **{f"c{choice}a0": Usage(5, 1, 0, 5) for choice in (10, 11)},
    )
    made = row(found)
    assert made.closing.delivered == Usage(15, 5, 4)
    assert made.computed == 22


def test_an_orphan_that_was_never_sent_used_nothing() -> None:
    made = row(tally())
    assert (made.closing.delivered, made.closing.cost, made.computed) == (Usage(0, 0), 0, 0)


@pytest.mark.parametrize(("delivered", "computed"), [(Usage(10, 5, 4), 10), (Usage(0, 0), 0)])
def test_what_no_engine_tells_is_at_least_what_was_delivered(delivered: Usage, computed: int) -> None:
    found = tally(c0a0=None)
    found.closing = Closing(Outcome.ERROR, delivered, 0)
    assert row(found).computed == computed


def test_what_came_for_a_client_that_got_none_of_it_was_computed_at_least() -> None:
    found = tally(c0a0=None)
    found.closing = Closing(Outcome.ERROR, Usage(0, 0), 0, lost=Usage(10, 5, 4))
    assert row(found).computed == 10
    assert (row(found).closing.delivered, row(found).closing.cost) == (Usage(0, 0), 0)


def test_what_was_refused_before_anything_was_done_has_no_row() -> None:
    refused = Closing(Outcome.REFUSED, Usage(0, 0), 0)
    unsent, sent = tally(), tally(c0a0=Usage(10, 0, 0, 10))
    unsent.closing = sent.closing = refused
    assert unsent.row() is None
    assert row(sent).computed == 10


def test_the_first_word_on_a_submission_counts() -> None:
    found = tally(c0a0=Usage(10, 3, 0, 12))
    found.end(name(), None)
    assert found.sent[name()].usage == Usage(10, 3, 0, 12)
