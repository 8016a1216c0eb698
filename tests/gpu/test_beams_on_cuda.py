"""Beam searches with graphs and overlapped steps are transformers'."""

from chorus_engine.runner import RunnerSettings
from chorus_engine.scheduler import Scheduler
from tests.engine.oracle.support.beams import check_beams, make_searches
from tests.engine.oracle.support.serve import make_requests, serve
from tests.engine.oracle.support.world import World


def test_beams_are_the_oracles(world: World) -> None:
    settings = RunnerSettings(max_num_seqs=8, max_num_batched_tokens=128, num_kv_blocks=150, max_adapters=5)
    runner = world.runner(settings)
    scheduler = Scheduler(runner.capacity, slot_patience=0.2)
    searches = make_searches(world)
    beside = make_requests(world, [70, 33, 90, 16, 30, 45], tokens=40, name="beside-")

    served = serve(world, scheduler, runner, [*searches, *beside], depth=2)

    assert served.copied > 0
    for search in searches:
        check_beams(world, search, served.beams[search.id])
