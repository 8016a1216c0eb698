"""One family's checkpoint, its adapters, its oracle and runners for it."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from chorus_engine.core.request import SamplingParams
from chorus_engine.model import LoadedModel, load
from chorus_engine.runner import Runner, RunnerSettings, measure_capacity
from tests.engine.oracle.support.checkpoints import (
    MAX_POSITIONS,
    AdapterShape,
    host_weights,
    make_adapter,
    make_checkpoint,
)
from tests.engine.oracle.support.driver import Job, Memory
from tests.engine.oracle.support.truth import Answer, Oracle


@dataclass(frozen=True)
class World:
    family: str
    folder: Path
    adapters: Mapping[str, Path]
    model: LoadedModel
    memory: Memory
    oracle: Oracle

    def runner(self, settings: RunnerSettings, *, eager: bool = False, draft: LoadedModel | None = None) -> Runner:
        capacity = measure_capacity(self.model, settings, draft)
        runner = Runner(self.model, capacity, self.memory, eager=eager, draft=draft)
        runner.warm_up()
        return runner

    def jobs(self, lengths: list[int], *, tokens: int = 8, seed: int = 0) -> list[Job]:
        """One greedy request a length, adapters and the base in turn."""
        draw = random.Random(seed)
        names = [*self.adapters, None]
        vocab = self.model.spec.vocab_size
        return [
            Job(tuple(draw.choices(range(vocab), k=length)), greedy(tokens), names[(i + seed) % len(names)])
            for i, length in enumerate(lengths)
        ]


def make_world(
    family: str,
    folder: Path,
    adapters: Mapping[str, AdapterShape],
    dtype: str = "float32",
    device: str = "cpu",
) -> World:
    checkpoint = folder / "model"
    make_checkpoint(family, checkpoint, shard_size="150KB" if family == "qwen2" else "5GB")
    folders = {name: folder / name for name in adapters}
    for name, shape in adapters.items():
        make_adapter(checkpoint, shape, folders[name])
    model = load(checkpoint, name=family, device=torch.device(device), dtype=dtype, max_model_len=MAX_POSITIONS)
    pairs = {name: host_weights(path) for name, path in folders.items()}
    memory = Memory(pairs, model.dtype, model.device)
    return World(family, checkpoint, folders, model, memory, Oracle(checkpoint, folders, device=device))


def greedy(tokens: int) -> SamplingParams:
    return SamplingParams(max_tokens=tokens, temperature=0.0)


def answers(jobs: list[Job]) -> list[Answer]:
    return [Answer(job.prompt, job.adapter, tuple(token.token_id for token in job.output)) for job in jobs]


def without_adapter(jobs: list[Job]) -> list[Job]:
    return [replace(Job(job.prompt, job.sampling), output=[]) for job in jobs]
