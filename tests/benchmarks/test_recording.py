"""What is made of the times at which tokens came."""

import pytest

from benchmarks.gpu.recording import Answer, Frame, Recording, percentile


def answer(times: list[float], counts: list[int] | None = None, prompt: int = 10) -> Answer:
    counts = counts or [1] * len(times)
    return Answer(prompt, sum(counts), asked=0.0, times=times, counts=counts)


def frames(*times: float, running: int = 2, held: int = 4, most: int = 1) -> list[Frame]:
    return [Frame(time, most, running, 100 - held, 100) for time in times]


def test_a_step_is_the_median_between_frames_while_all_decode() -> None:
    a, b = answer([1.0, 2.0, 2.5, 3.0, 3.5]), answer([2.0, 2.5, 3.0, 9.0])
    run = Recording([a, b], 0.0, frames(1.0, 2.0, 2.5, 3.0, 3.5, 9.0))
    assert run.step_seconds() == 0.5


def test_a_frame_of_two_steps_counts_as_two() -> None:
    run = Recording([answer([0.0, 1.0, 3.0], [1, 1, 2])], 0.0, [Frame(0.0, 1), Frame(1.0, 1), Frame(3.0, 2)])
    assert run.step_seconds() == 1.0


def test_without_a_time_when_all_decode_every_step_counts() -> None:
    run = Recording([answer([0.0, 1.0]), answer([2.0, 3.0])], 0.0, frames(0.0, 1.0, 2.0, 3.0))
    assert run.step_seconds() == 1.0


def test_one_token_has_no_step() -> None:
    assert Recording([answer([1.0])], 0.0, frames(1.0)).step_seconds() is None


def test_tokens_that_came_together_lie_nothing_apart() -> None:
    assert answer([1.0, 3.0], [1, 3]).gaps() == [2.0, 0.0, 0.0]


def test_waste_is_what_the_held_blocks_hold_too_little() -> None:
    a, b = answer([1.0, 2.0, 3.0], prompt=20), answer([1.0, 2.0, 3.0], prompt=30)
    run = Recording([a, b], 0.0, frames(2.0))
    assert run.wasted_share(16) == pytest.approx(1 - (22 + 32) / 64)


def test_waste_is_not_asked_for_while_a_prompt_is_computed() -> None:
    run = Recording([answer([1.0, 3.0]), answer([2.5, 3.0])], 0.0, frames(2.0))
    assert run.wasted_share(16) is None


def test_a_request_without_all_its_tokens_is_no_measurement() -> None:
    short = Answer(10, 5, times=[1.0], counts=[4], failure="the engine failed")
    with pytest.raises(RuntimeError, match="request 0 got 4 of 5 tokens: the engine failed"):
        Recording([short]).check()


def test_rates_are_of_the_whole_run() -> None:
    run = Recording([answer([3.0, 4.0], prompt=7), answer([3.0, 5.0], prompt=8)], began=1.0)
    assert (run.seconds, run.output_tokens, run.prompt_tokens) == (4.0, 4, 15)


def test_percentiles_are_of_the_sorted_values() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile(list(map(float, range(101))), 0.99) == 99.0
