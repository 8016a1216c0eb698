"""How many prompt tokens share a step with rows that decode."""

from dataclasses import replace

import pytest

from chorus_engine.scheduler.chunks import ChunkPolicy
from tests.engine.scheduler.drive import SMALL, Drive, request

LARGE = replace(SMALL, max_num_batched_tokens=64, num_blocks=200)


@pytest.mark.parametrize(("prompts", "limit"), [(0, 384), (1, 384), (5, 384), (6, 768), (10, 2304), (99, 8192)])
def test_few_prompts_go_by_one_chunk_a_step_and_many_by_as_many_more(prompts: int, limit: int) -> None:
    assert ChunkPolicy().limit(prompts, 8192) == limit


def test_the_budget_is_the_last_word() -> None:
    assert ChunkPolicy().limit(99, 256) == ChunkPolicy().limit(0, 256) == 256


def prompt_tokens(drive: Drive) -> list[int]:
    """Of each step."""
    return [sum(step.count for step in plan.rows if step.count > 1) for plan in drive.plans]


def test_without_rows_that_decode_prompts_take_the_whole_budget() -> None:
    drive = Drive(LARGE, chunks=ChunkPolicy(tokens=8))
    drive.add(request("a", 60), request("b", 60, arrival=1.0))
    drive.step()
    assert prompt_tokens(drive) == [64]


def test_beside_rows_that_decode_a_prompt_goes_by_chunks_however_long_it_is() -> None:
    drive = Drive(LARGE, chunks=ChunkPolicy(tokens=10))
    drive.add(request("decodes", 3, 40))
    drive.step()
    drive.add(request("long", 60))
    drive.run()
    assert prompt_tokens(drive)[:10] == [3, 8, 8, 8, 8, 8, 8, 8, 4, 0], "cut at a block's end"
    assert all(plan.rows[0].count == 1 for plan in drive.plans[1:]), "a row that decodes waits for nobody"


def test_all_prompts_that_wait_count_with_a_row_or_without() -> None:
    drive = Drive(replace(LARGE, max_num_seqs=3), chunks=ChunkPolicy(tokens=8, few=2))
    drive.add(request("decodes", 3, 40))
    drive.step()
    drive.add(*(request(f"r{index}", 40, arrival=1.0 + index) for index in range(5)))
    drive.step()
    assert prompt_tokens(drive)[-1] == 3 * 8
    drive.scheduler.cancel("r4")
    drive.step()
    assert prompt_tokens(drive)[-1] == 2 * 8
