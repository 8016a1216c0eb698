"""A step's cost does not grow with the number of adapters that wait, or are known."""

import statistics
import time
from dataclasses import replace

import pytest

from chorus_engine.core.plan import StepResult
from chorus_engine.core.request import SampledToken
from chorus_engine.scheduler import Scheduler
from tests.engine.scheduler.drive import SMALL, footprint, request

CROWDED = replace(
    SMALL, max_model_len=4096, max_num_seqs=16, max_num_batched_tokens=64, num_blocks=8000, max_adapters=8
)


class Crowd:
    """Eight adapters run for ever; as many others as are added wait for their slots."""

    def __init__(self, patience: float) -> None:
        self.scheduler = Scheduler(replace(CROWDED, adapter_pages=8), patience)
        self.now = 0.0
        for index in range(8):
            self.scheduler.adapter_fetched(footprint(f"runs{index}"))
            self.scheduler.add(request(f"r{index}", max_tokens=3000, adapter=f"runs{index}"))
        self.median_step(50)

    def wait(self, adapters: int, *, hosted: bool) -> None:
        for index in range(adapters):
            if hosted:
                self.scheduler.adapter_fetched(footprint(f"waits{index}"))
            self.scheduler.add(request(f"w{index}", adapter=f"waits{index}", arrival=self.now))

    def median_step(self, steps: int) -> float:
        seconds = []
        for _ in range(steps):
            self.now += 0.001
            began = time.thread_time()
            self.scheduler.wanted_adapters()
            plan = self.scheduler.schedule(self.now)
            seconds.append(time.thread_time() - began)
            assert plan is not None
            sampled = tuple((SampledToken(1),) if row.sample else () for row in plan.rows)
            result = StepResult(plan.step, sampled, tuple(load.slot for load in plan.load))
            self.scheduler.commit(plan, result, self.now)
        return statistics.median(seconds)


@pytest.mark.parametrize("hosted", [False, True])
def test_a_thousand_waiting_adapters_cost_a_step_next_to_nothing(hosted: bool) -> None:
    crowd = Crowd(patience=1e9)
    alone = crowd.median_step(200)
    crowd.wait(2000, hosted=hosted)
    crowd.median_step(5)
    crowded = crowd.median_step(200)
    assert crowded < 3 * alone + 1e-4, f"{alone * 1e6:.0f} us a step alone, {crowded * 1e6:.0f} us with 2000 waiting"
    crowd.scheduler.check()
