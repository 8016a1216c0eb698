"""How many prompt tokens share a step with rows that decode."""

from dataclasses import replace

import pytest

from chorus_engine.scheduler.chunks import ChunkPolicy
from tests.engine.scheduler.drive import SMALL, Drive, request

LARGE = replace(SMALL, max_num_batched_tokens=64, num_blocks=200)


@pytest.mark.parametrize(
    ("backlog", "limit"), [(0, 512), (1000, 512), (2048, 512), (4000, 1000), (32_000, 8000), (99_000, 8192)]
)
def test_a_quarter_of_what_waits_but_no_less_than_fills_the_device(backlog: int, limit: int) -> None:
    assert ChunkPolicy().limit(backlog, 8192) == limit


def test_the_budget_is_the_last_word() -> None:
    assert ChunkPolicy().limit(99_000, 256) == ChunkPolicy().limit(0, 256) == 256


def prompt_tokens(drive: Drive) -> list[int]:
    """Of each step."""
    return [sum(step.count for step in plan.rows if step.count > 1) for plan in drive.plans]


def test_without_rows_that_decode_prompts_take_the_whole_budget() -> None:
    drive = Drive(LARGE, chunks=ChunkPolicy(least=8))
    drive.add(request("a", 60), request("b", 60, arrival=1.0))
    drive.step()
    assert prompt_tokens(drive) == [64]


def test_beside_rows_that_decode_prompts_take_a_share_of_all_that_is_not_computed() -> None:
    drive = Drive(LARGE, chunks=ChunkPolicy(least=8))
    drive.add(request("decodes", 3, 40))
    drive.step()
    drive.add(request("a", 60), request("b", 60, arrival=1.0))
    for _ in range(4):
        drive.step()
    # A quarter of 120, of 92 and of 72; cuts are at a block's end, and a prompt that is cut ends the step.
    assert prompt_tokens(drive) == [3, 28, 20, 16, 12]
    assert all(plan.rows[0].count == 1 for plan in drive.plans[1:]), "a row that decodes waits for nobody"


def test_what_waits_without_a_row_counts_too() -> None:
    drive = Drive(replace(LARGE, max_num_seqs=2), chunks=ChunkPolicy(least=8))
    drive.add(request("decodes", 3, 40))
    drive.step()
    drive.add(*(request(f"r{index}", 40, arrival=1.0 + index) for index in range(3)))
    drive.step()
    assert prompt_tokens(drive) == [3, 28]
    drive.scheduler.cancel("r2")
    drive.step()
    assert prompt_tokens(drive)[-1] == 12, "the rest of the first"
