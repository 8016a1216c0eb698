"""Searches among other requests. That a search is transformers' is tested with a model."""

from dataclasses import replace

import pytest

from chorus_engine.core.errors import AdapterUnavailable, InvalidRequest
from chorus_engine.core.request import Beam, BeamParams, EarlyStopping, FinishReason, Request, SampledToken
from chorus_engine.scheduler.beam_search import BeamSearch
from tests.engine.scheduler.drive import SMALL, Drive, footprint, request
from tests.engine.scheduler.fake_runner import answer, likeliest


def search(name: str, width: int, prompt: int = 9, max_tokens: int = 8, **fields: object) -> Request:
    plain = request(name, prompt, max_tokens, stop=(3, 4), namespace=name.encode())
    return replace(plain, beams=BeamParams(width, 1.0, EarlyStopping.NEVER), **fields)  # type: ignore[arg-type] # any field


def beams_of(asked: Request) -> tuple[Beam, ...]:
    """What the search finds, alone."""
    assert asked.beams is not None
    alone = BeamSearch(asked.beams, asked.sampling)
    while not alone.done:
        prompts = [asked.prompt + path.token_ids for path in alone.paths]
        alone.advance([SampledToken(0, top=likeliest(each, asked.adapter, alone.breadth)) for each in prompts])
    return alone.beams


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("caching", [True, False])
def test_searches_are_the_same_beside_others_and_among_few_blocks(depth: int, caching: bool) -> None:
    drive = Drive(replace(SMALL, num_blocks=14), depth, prefix_caching=caching)
    drive.host(footprint("a"))
    searches = [search("one", 3), search("two", 6, 17, adapter="a"), search("three", 2, max_tokens=1)]
    others = [request(f"other{at}", 9, 14) for at in range(4)]
    drive.add(searches[0], others[0], searches[1], others[1], searches[2], *others[2:])
    drive.run()

    assert drive.scheduler.idle
    assert drive.scheduler.load().preemptions > 0
    for each in searches:
        end = drive.end(each.id)
        assert end.beams == beams_of(each)
        assert end.finish is FinishReason.STOP
        assert end.usage is not None
        assert end.usage.completion_tokens == sum(len(beam.tokens) for beam in end.beams)
        said = [output.usage for output in drive.outputs if output.request_id == each.id and not output.finish]
        assert all(usage is not None and usage.prompt_tokens == len(each.prompt) for usage in said)
    for other in others:
        assert drive.tokens(other.id) == answer(other)[0]


def test_paths_share_full_blocks() -> None:
    drive = Drive(replace(SMALL, max_num_seqs=8, max_num_batched_tokens=64))
    asked = search("one", 4, 30, 6)
    drive.add(asked)
    drive.run()
    usage = drive.end("one").usage
    assert usage is not None
    rounds = max(len(beam.tokens) for beam in drive.end("one").beams)
    # One token a path and round, but where a block is full: then the first that goes on takes its copy's source away.
    full = rounds // SMALL.block_size + 1
    assert usage.computed_tokens <= 30 + (rounds - 1 + full * SMALL.block_size) * 4
    assert sum(len(plan.copy) for plan in drive.plans) > 0
    assert max(len(plan.rows) for plan in drive.plans) == 4


@pytest.mark.parametrize("depth", [1, 2])
def test_a_search_ends_once_whatever_ends_it(depth: int) -> None:
    drive = Drive(depth=depth)
    drive.add(search("cancelled", 3), search("late", 3, deadline=0.05), search("adapterless", 2, adapter="gone"))
    with pytest.raises(InvalidRequest, match="in use"):
        drive.add(search("late", 2))
    drive.step()
    drive.step()
    drive.scheduler.cancel("cancelled")
    drive.scheduler.cancel("cancelled")
    drive.scheduler.adapter_failed("gone", AdapterUnavailable("the store is away"))
    assert drive.scheduler.next_deadline() == 0.05
    drive.run()

    ends = {output.request_id: output.finish for output in drive.outputs if output.finish}
    assert ends == {
        "cancelled": FinishReason.CANCELLED,
        "late": FinishReason.DEADLINE,
        "adapterless": FinishReason.ERROR,
    }
    assert len([output for output in drive.outputs if output.finish]) == 3
    assert isinstance(drive.end("adapterless").error, AdapterUnavailable)
    assert not any(output.beams for output in drive.outputs)
    assert drive.scheduler.idle
    drive.scheduler.check()
