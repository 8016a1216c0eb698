"""From a plan to sampled tokens: rows, inputs, cache, adapter pool, sampler."""

from chorus_engine.runner.adapter_pool import AdapterPool, HostWeights
from chorus_engine.runner.capacity import RunnerSettings, measure_capacity
from chorus_engine.runner.runner import Pending, Runner

__all__ = ["AdapterPool", "HostWeights", "Pending", "Runner", "RunnerSettings", "measure_capacity"]
