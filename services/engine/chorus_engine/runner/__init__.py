"""From a plan to sampled tokens: rows, inputs, cache, adapter pool, sampler."""

from chorus_engine.runner.adapters import AdapterSource, AdapterWeights
from chorus_engine.runner.capacity import RunnerSettings, measure_capacity
from chorus_engine.runner.runner import Pending, Runner

__all__ = ["AdapterSource", "AdapterWeights", "Pending", "Runner", "RunnerSettings", "measure_capacity"]
