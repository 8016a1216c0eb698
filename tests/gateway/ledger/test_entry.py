"""One request's account: what is in the journal when, and when its engines may forget it."""

import os
from contextlib import suppress
from pathlib import Path

import pytest

from chorus_gateway.errors import DeadlineExceeded, GatewayError, Internal, Overloaded, Unavailable
from chorus_gateway.ledger.dead import find_dead
from chorus_gateway.ledger.ledger import MAX_FILES, Ledger
from chorus_gateway.ledger.recording import recorded
from chorus_gateway.ledger.tally import Tally
from chorus_gateway.ledger.values import Outcome
from chorus_gateway.values import Usage
from tests.gateway.support.ledger import USED, Acknowledged, Worker, admission, name


class Answers:
    def billed(self) -> Usage:
        return Usage(10, 3)

    def made(self) -> Usage:
        return Usage(10, 3)


def left_behind(worker: Worker, folder: Path) -> tuple[list[Tally], dict[str, Tally]]:
    """What an heir reads: requests that are done, and the rest."""
    worker.kill()
    (dead,) = find_dead(folder)
    unsettled: dict[str, Tally] = {}
    done = list(dead.tallies(unsettled))
    dead.close()
    return done, unsettled


def test_an_admitted_request_survives_its_worker(folder: Path) -> None:
    worker = Worker(folder)
    worker.admit().sent(name(), "engine-1")
    done, unsettled = left_behind(worker, folder)
    assert not done
    assert unsettled["req_a"].admission == admission()
    assert unsettled["req_a"].sent[name()].engine_id == "engine-1"
    assert unsettled["req_a"].closing is None


def test_an_engine_may_forget_what_the_journal_has_and_no_sooner(folder: Path) -> None:
    worker, told = Worker(folder), Acknowledged()
    entry = worker.admit()
    entry.sent(name(), "engine-1")
    entry.ended(name(), USED, told)
    worker.ledger.pay()
    assert not told.names  # in memory alone
    entry.close(Outcome.OK, USED)
    assert not told.names  # in its turn
    worker.ledger.pay()
    assert told.names == [name()]
    ((tally,), _) = left_behind(worker, folder)
    assert tally.sent[name()].usage == USED


def test_the_final_usage_of_what_was_cancelled_comes_after_the_close(folder: Path) -> None:
    worker, told = Worker(folder), Acknowledged()
    entry = worker.admit()
    entry.sent(name(), "engine-1")
    entry.close(Outcome.CANCELLED, Usage(10, 2))
    assert worker.ledger.unwritten == 0
    entry.ended(name(), USED, told)
    worker.ledger.pay()
    assert (worker.ledger.unwritten, told.names) == (1, [name()])
    ((tally,), _) = left_behind(worker, folder)
    assert tally.row() == entry.tally.row()


def test_every_attempt_and_answer_is_awaited(folder: Path) -> None:
    worker = Worker(folder)
    entry = worker.admit(n=2)
    for submission in (name(), name(choice=1), name(attempt=1)):
        entry.sent(submission, "engine-1")
    entry.ended(name(), USED, Acknowledged())
    entry.ended(name(attempt=1), USED, Acknowledged())
    entry.close(Outcome.OK, USED)
    entry.close(Outcome.ERROR, Usage(0, 0))  # only the first counts
    assert worker.ledger.unwritten == 0
    _, unsettled = left_behind(worker, folder)
    closing = unsettled["req_a"].closing
    assert closing is not None
    assert (closing.outcome, closing.delivered.completion_tokens) == (Outcome.OK, USED.completion_tokens)
    entry.tally.end(name(choice=1), USED)
    row = entry.tally.row()
    assert row is not None
    assert (row.closing.outcome, row.computed) == (Outcome.OK, 3 * USED.computed_tokens)


def test_an_acknowledgement_that_has_no_stream_makes_the_engine_stale(folder: Path) -> None:
    worker = Worker(folder)
    entry = worker.admit()
    entry.sent(name(), "engine-1")
    entry.ended(name(), USED, Acknowledged(lost=True))
    entry.close(Outcome.OK, USED)
    worker.ledger.pay()
    assert worker.ledger.stale == {"engine-1"}
    assert not worker.ledger.needs(name())


def test_a_full_disk_refuses_new_requests_in_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, told = Worker(folder), Acknowledged()
    entry = worker.admit()
    entry.sent(name(), "engine-1")
    entry.ended(name(), USED, told)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda *_: 0)
        with pytest.raises(Unavailable, match="disk that usage is recorded on is full"):
            worker.admit("req_b")
        entry.close(Outcome.OK, USED)  # running ones go on
    worker.ledger.pay()
    assert worker.ledger.needs(name())
    assert not told.names  # the engine is the only one who could still tell
    worker.ledger.stored(worker.ledger.take(10))
    worker.ledger.pay()
    assert told.names == [name()]
    worker.admit("req_c")


def test_requests_are_refused_while_too_many_wait_for_the_database(folder: Path) -> None:
    worker = Worker(folder)
    ledger = Ledger(worker.journal, max_unwritten=2)
    for number in range(2):
        ledger.admit(admission(f"req_{number}")).close(Outcome.OK, Usage(0, 0))
    with pytest.raises(Unavailable, match="cannot be written to the database"):
        ledger.admit(admission("req_2"))
    ledger.stored(ledger.take(1))
    ledger.admit(admission("req_2"))


def test_requests_that_run_for_long_hold_back_few_files(folder: Path) -> None:
    worker = Worker(folder, file_bytes=2000)
    running = worker.admit("req_running")
    running.sent(name("req_running"), "engine-1")
    cancelled = worker.admit("req_cancelled")
    cancelled.sent(name("req_cancelled"), "engine-1")
    cancelled.close(Outcome.CANCELLED, Usage(10, 2))
    before = worker.admit("req_before")  # over, and not in SQL
    before.close(Outcome.OK, Usage(0, 0))
    for number in range(40):
        worker.served(f"req_{number}")
    many = worker.journal.files
    worker.ledger.carry()
    assert worker.journal.files == many > MAX_FILES
    worker.ledger.stored(worker.ledger.take(100))
    worker.ledger.carry()
    assert worker.journal.files <= 2
    _, unsettled = left_behind(worker, folder)
    assert unsettled == {
        "req_running": running.tally,
        "req_cancelled": cancelled.tally,
    }


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, Outcome.OK),
        (Internal("broken"), Outcome.ERROR),
        (DeadlineExceeded("late"), Outcome.DEADLINE),
        (Overloaded("full"), Outcome.REFUSED),
    ],
)
def test_how_a_block_ends_is_taken_down(folder: Path, error: Exception | None, outcome: Outcome) -> None:
    worker = Worker(folder)
    with suppress(GatewayError), recorded(worker.ledger, admission(), Answers()) as entry:
        entry.sent(name(), "engine-1")
        if error is not None:
            raise error
    closing = entry.tally.closing
    assert closing is not None
    assert (closing.outcome, closing.delivered, closing.cost) == (outcome, Usage(10, 3), 1900)
