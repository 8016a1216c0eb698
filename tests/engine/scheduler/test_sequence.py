"""What one request remembers from step to step."""

from chorus_engine.core.plan import RowStep
from chorus_engine.core.request import FinishReason, SampledToken
from chorus_engine.scheduler.sequence import Sequence
from tests.engine.scheduler.drive import request


def tokens(*ids: int) -> tuple[SampledToken, ...]:
    return tuple(map(SampledToken, ids))


def running(max_tokens: int = 8, stop: tuple[int, ...] = ()) -> Sequence:
    sequence = Sequence(request("a", prompt=6, max_tokens=max_tokens, stop=stop), serial=1)
    sequence.enter(row=2, slot=None, now=1.0)
    sequence.fill((7, 9), filled=0, start=0, block_size=4)
    return sequence


def test_a_token_that_is_still_being_sampled_can_be_computed_next() -> None:
    sequence = running()
    assert sequence.advance(6) == RowStep(row=2, start=0, count=6, new_blocks=(7, 9), sample=True)
    assert (sequence.remaining, sequence.pending, sequence.in_flight) == (1, 1, 1)
    assert sequence.advance(1) == RowStep(row=2, start=6, count=1, new_blocks=(), sample=True)


def test_no_more_tokens_are_asked_for_than_allowed() -> None:
    sequence = running(max_tokens=1)
    sequence.advance(6)
    assert sequence.remaining == 0


def test_blocks_are_missed_as_soon_as_a_position_lies_past_them_and_never_for_the_last_token() -> None:
    sequence = running(max_tokens=3)
    for _ in range(2):
        assert not sequence.cramped
        sequence.receive(sequence.advance(sequence.remaining), tokens(1), now=2.0)
    sequence.room = 7
    assert sequence.cramped
    sequence.grow((5,), block_size=4)
    assert sequence.advance(1).new_blocks == (5,)
    assert not sequence.cramped


def test_several_tokens_of_one_step_end_with_the_one_that_ends_the_request() -> None:
    sequence = running(stop=(5,))
    step = sequence.advance(6)
    assert sequence.receive(step, tokens(3, 5, 4), now=2.0) == tokens(3, 5)
    assert (sequence.finish, sequence.produced) == (FinishReason.STOP, [3, 5])


def test_what_ended_takes_nothing_from_later_steps() -> None:
    sequence = running(max_tokens=8, stop=(5,))
    first, second = sequence.advance(6), sequence.advance(1)
    sequence.receive(first, tokens(5), now=2.0)
    assert sequence.receive(second, tokens(1), now=3.0) == ()
    assert sequence.produced == [5]


def test_after_preemption_prompt_and_produced_are_computed_again() -> None:
    sequence = running()
    sequence.receive(sequence.advance(6), tokens(3), now=2.0)
    sequence.leave()
    assert (sequence.remaining, sequence.room) == (7, 0)
    sequence.fill((3, 5), filled=1, start=4, block_size=4)
    sequence.enter(row=0, slot=4, now=9.0)
    admission = sequence.admission(base_slot=-1)
    assert (admission.token_ids, admission.prompt_len, admission.slot) == ((*sequence.request.prompt, 3), 6, 4)
    assert admission.blocks == (3,)
    assert sequence.advance(3) == RowStep(row=0, start=4, count=3, new_blocks=(5,), sample=True)


def test_tokens_are_read_across_the_end_of_the_prompt() -> None:
    sequence = running()
    sequence.receive(sequence.advance(6), tokens(3, 4), now=2.0)
    everything = (*sequence.request.prompt, 3, 4)
    for start in range(9):
        for stop in range(start, 9):
            assert sequence.tokens(start, stop) == everything[start:stop]
