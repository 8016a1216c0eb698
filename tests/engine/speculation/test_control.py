"""Requests have as many drafts as are taken, and steps have drafts while these pay."""

from dataclasses import replace
from itertools import pairwise

import pytest

from chorus_engine.core.draft import Asking
from chorus_engine.core.request import Request, SamplingParams
from chorus_engine.speculation import Control, ScriptedProposer, Speculator
from chorus_engine.speculation.control import LOW, MOST_ROWS, TRY_AFTER
from chorus_engine.speculation.step_time import RETRY, StepTime
from tests.engine.scheduler.drive import SMALL, Drive, request
from tests.engine.scheduler.fake_runner import VOCAB, answer

REQUEST = Request("r", (1, 2), SamplingParams(max_tokens=9999))


def speculator(control: Control, acceptance: float = 1.0) -> Speculator:
    return Speculator(ScriptedProposer(lambda _: [5] * 9999, acceptance, vocab=9), control)


def asking(count: int = 1, speculation: int | None = None, most: int = 99) -> list[Asking]:
    sampling = replace(REQUEST.sampling, speculation=speculation)
    return [Asking(replace(REQUEST, id=f"r{i}", sampling=sampling), [], most) for i in range(count)]


def drafts(control: Control, count: int = 1, speculation: int | None = None, room: int = 999) -> list[int]:
    rows = asking(count, speculation)
    return [len(draft) for draft in speculator(control).draft(rows, count, room)]


def test_drafts_follow_what_is_taken() -> None:
    control = Control(8)
    assert 1 <= control.drafts("r", None, 0, 1) < 8
    for produced in range(0, 200, 9):
        control.verified("r", None, 8, 8, produced)
    assert control.drafts("r", None, 200, 1) == 8
    for produced in range(200, 230):
        control.verified("r", None, 4, 0, produced)
    assert control.drafts("r", None, 230, 1) == 0


def test_one_whose_drafts_are_not_taken_is_tried_less_and_less() -> None:
    control, tries, produced = Control(8), [], 0
    while produced < 3000:
        if control.drafts("r", None, produced, 1):
            control.verified("r", None, 2, 0, produced)
            tries.append(produced)
        produced += 1
    assert len(tries) < 30
    late = [after - before for before, after in pairwise(tries)]
    assert late[-1] > 400
    assert max(late) <= 513


def test_a_try_that_succeeds_brings_drafts_back() -> None:
    control = Control(8)
    for _ in range(20):
        control.verified("r", None, 2, 0, 0)
    assert control.drafts("r", None, 0, 1) == 0
    assert control.drafts("r", None, 10 * TRY_AFTER * 512, 1) > 0
    control.verified("r", None, 2, 2, 99)
    assert control.expected("r", None, 1) >= 1 + LOW
    assert control.drafts("r", None, 99, 1) > 0


def test_new_requests_begin_with_what_is_known_of_their_adapters() -> None:
    control = Control(8)
    for turn in range(40):
        for _ in range(5):
            control.verified(f"bad{turn}", "bad", 4, 0, 8)
            control.verified(f"good{turn}", "good", 4, 4, 8)
        control.forget(f"bad{turn}")
        control.forget(f"good{turn}")
    assert control.drafts("new", "bad", 0, 1) == 0
    assert control.drafts("other", "good", 0, 1) > control.drafts("unknown", None, 0, 1)
    assert len(control) == 3


def test_large_batches_draft_less_and_the_largest_nothing() -> None:
    control = Control(8)
    control.verified("r", None, 8, 8, 0)
    counts = [control.drafts("r", None, 0, rows) for rows in (1, 8, 16, MOST_ROWS, MOST_ROWS + 1, 128)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[3] > 0
    assert counts[4:] == [0, 0]
    assert speculator(control).drafts_beside(MOST_ROWS)
    assert not speculator(control).drafts_beside(MOST_ROWS + 1)


def test_a_number_is_kept_to_whatever_pays() -> None:
    control = Control(8)
    for _ in range(50):
        control.timed(1, 0, 1.0)
        control.timed(1, 3, 9.0)
    assert drafts(control, 1, 3) == [3]
    assert drafts(control, 1, 16) == [8]
    assert drafts(control, 1, 0) == [0]
    assert drafts(control, 2, 5, room=7) == [5, 2]
    (few,) = speculator(control).draft(asking(1, 5, most=2), 1, 99)
    assert len(few) == 2


@pytest.mark.parametrize(("seconds", "pays"), [(1.2, True), (3.0, False)])
def test_steps_are_drafted_while_that_brings_more_tokens_a_second(seconds: float, pays: bool) -> None:
    control = Control(4)
    for drafted in (0, 1, 2, 3, 4):
        control.timed(1, drafted, seconds if drafted else 1.0)
    assert (drafts(control) != [0]) == pays
    assert speculator(control).expects(asking(), 1) == pays


def test_what_did_not_pay_is_tried_again() -> None:
    control = Control(4)
    for drafted in (1, 2, 3, 4):
        control.timed(1, drafted, 9.0)
    for _ in range(RETRY - 1):
        control.timed(1, 0, 1.0)
        assert drafts(control) == [0]
    control.timed(1, 0, 1.0)
    assert drafts(control) != [0]
    control.timed(1, 2, 9.0)
    assert drafts(control) == [0]


def test_one_step_that_was_held_up_says_little() -> None:
    times = StepTime()
    for _ in range(10):
        times.add(1, 0, 1.0)
        times.add(1, 4, 1.1)
    times.add(1, 4, 500.0)
    assert times.ratio(1, 4) < 1.5


@pytest.mark.parametrize("speculation", [None, 3])
def test_nothing_is_remembered_of_who_ends_while_its_drafts_are_verified(speculation: int | None) -> None:
    control = Control(4)
    guesses = Speculator(ScriptedProposer(lambda asked: answer(asked)[0], 0.7, vocab=VOCAB), control)
    drive = Drive(replace(SMALL, max_verified=32), speculator=guesses)
    asked = request("r", max_tokens=30)
    drive.add(replace(asked, sampling=replace(asked.sampling, speculation=speculation)))
    while not (plan := drive.launch()) or not plan.rows[0].drafted:
        drive.commit()
    assert len(control) == (speculation is None)
    drive.scheduler.cancel("r")
    drive.run()
    assert drive.scheduler.idle
    assert len(control) == 0


def test_a_draft_model_is_told_how_many() -> None:
    (draft,) = Speculator(None, Control(8)).draft(asking(1, 6), 1, 99)
    assert (draft.tokens, draft.guesses) == ((), 6)
