"""A runner driven by hand-made plans: a scheduler's part in its simplest form, with every knob exposed."""

import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from chorus_engine.adapters.host import Pairs, Weights, pack
from chorus_engine.core.plan import BASE_SLOT, Admission, ModulePages, RowStep, SlotLoad, StepPlan
from chorus_engine.core.request import SampledToken, SamplingParams
from chorus_engine.core.spec import OUTER_LAYER
from chorus_engine.runner import Runner


@dataclass
class Job:
    """A request on its way through the driver."""

    prompt: tuple[int, ...]
    sampling: SamplingParams
    adapter: str | None = None
    output: list[SampledToken] = field(default_factory=list)
    row: int = -1
    slot: int = BASE_SLOT
    computed: int = 0
    blocks: list[int] = field(default_factory=list)
    preemptions: int = 0

    @property
    def token_ids(self) -> tuple[int, ...]:
        return (*self.prompt, *(token.token_id for token in self.output))

    @property
    def done(self) -> bool:
        return len(self.output) >= self.sampling.max_tokens


class Memory:
    """Adapters by name, as a runner asks for them by digest."""

    def __init__(self, adapters: Mapping[str, Pairs], dtype: torch.dtype, device: torch.device) -> None:
        pinned = device.type == "cuda"
        self.adapters = {name: pack(pairs, dtype, pinned=pinned) for name, pairs in adapters.items()}

    def get(self, digest: str) -> Weights:
        return self.adapters[digest]


class Driver:
    """Blocks, pages and rows are handed out in random order, so that nothing may rely on neighbours."""

    def __init__(self, runner: Runner, memory: Memory, *, chunk: int = 64, budget: int = 256, seed: int = 0) -> None:
        capacity = runner.capacity
        self._runner, self._memory, self._capacity = runner, memory, capacity
        self._chunk, self._budget = chunk, budget
        self._random = random.Random(seed)
        self._free_blocks = self._shuffled(capacity.num_blocks)
        self._free_rows = self._shuffled(capacity.max_num_seqs)
        self._free_pages: dict[tuple[int, str], list[int]] = {}
        self._slots: dict[int, tuple[str, tuple[ModulePages, ...]]] = {}
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._release: list[int] = []
        self.evictions = 0
        self.steps = 0

    def run(self, jobs: Sequence[Job]) -> None:
        self._waiting.extend(jobs)
        while self._waiting or self._running:
            self.step()
        self._runner.launch(StepPlan(self.steps, (), release=tuple(self._release))).result()
        self._release.clear()

    def step(self) -> None:
        admit, load = self._admit()
        rows = self._rows()
        admit = [a for a in admit if any(job.row == a.row for job in self._running)]
        self._fill(load)
        plan = StepPlan(self.steps, tuple(rows), tuple(self._release), tuple(admit))
        self._release.clear()
        result = self._runner.launch(plan).result()
        assert result.step == self.steps
        self.steps += 1
        by_row = {job.row: job for job in self._running}
        for step, sampled in zip(rows, result.sampled, strict=True):
            assert len(sampled) == step.sample
            job = by_row[step.row]
            job.computed += step.count
            job.output.extend(sampled)
            if job.done:
                self._leave(job)

    def preempt(self, job: Job) -> None:
        self._leave(job)
        job.computed, job.preemptions = 0, job.preemptions + 1
        self._waiting.appendleft(job)

    def _admit(self) -> tuple[list[Admission], list[SlotLoad]]:
        admit: list[Admission] = []
        load: list[SlotLoad] = []
        while self._waiting and self._free_rows:
            job = self._waiting[0]
            if len(self._free_blocks) * self._capacity.block_size <= len(job.token_ids) and self._running:
                break
            if not self._find_slot(job, load):
                break
            self._waiting.popleft()
            job.row = self._free_rows.pop()
            self._running.append(job)
            admit.append(Admission(job.row, "", job.token_ids, len(job.prompt), job.slot, job.sampling))
        return admit, load

    def _fill(self, load: list[SlotLoad]) -> None:
        """Loads adapters and waits for all of them; a step may use a slot only when it is ready."""
        ready: set[int] = set()
        plan = StepPlan(self.steps, (), load=tuple(load))
        while not ready.issuperset(item.slot for item in load):
            ready.update(self._runner.launch(plan).result().loaded)
            plan = StepPlan(self.steps, ())

    def _rows(self) -> list[RowStep]:
        rows: list[RowStep] = []
        budget = self._budget
        for job in list(self._running):
            count = min(len(job.token_ids) - job.computed, self._chunk, budget)
            if count == 0 or job not in self._running:
                continue
            blocks = self._blocks(job, job.computed + count, rows)
            if blocks is None:
                continue
            last = job.computed + count == len(job.token_ids)
            rows.append(RowStep(job.row, job.computed, count, blocks, last))
            budget -= count
        self._random.shuffle(rows)
        return rows

    def _blocks(self, job: Job, tokens: int, rows: list[RowStep]) -> tuple[int, ...] | None:
        needed = -(-tokens // self._capacity.block_size) - len(job.blocks)
        while len(self._free_blocks) < needed:
            planned = {step.row for step in rows}
            victim = next((j for j in reversed(self._running) if j is not job and j.row not in planned), None)
            if victim is None:
                return None
            self.preempt(victim)
        new = [self._free_blocks.pop() for _ in range(needed)]
        job.blocks.extend(new)
        return tuple(new)

    def _find_slot(self, job: Job, load: list[SlotLoad]) -> bool:
        if job.adapter is None:
            return True
        resident = {digest: slot for slot, (digest, _) in self._slots.items()}
        if job.adapter not in resident:
            slot = self._load(job.adapter, load)
            if slot is None:
                return False
            resident[job.adapter] = slot
        job.slot = resident[job.adapter]
        return True

    def _load(self, adapter: str, load: list[SlotLoad]) -> int | None:
        free = [slot for slot in range(self._capacity.max_adapters) if slot not in self._slots]
        if not free:
            leased = {job.slot for job in self._running}
            idle = [slot for slot in self._slots if slot not in leased]
            if not idle:
                return None
            free = [self._evict(self._random.choice(idle))]
        modules = tuple(
            self._pages(layer, module, len(a)) for (layer, module), (a, _) in self._memory.get(adapter).modules.items()
        )
        self._slots[free[0]] = (adapter, modules)
        load.append(SlotLoad(free[0], adapter, modules))
        return free[0]

    def _pages(self, layer: int, module: str, rank: int) -> ModulePages:
        pages = self._capacity.vocab_pages if layer == OUTER_LAYER else self._capacity.adapter_pages
        free = self._free_pages.setdefault((layer, module), self._shuffled(pages))
        taken = tuple(free.pop() for _ in range(-(-rank // self._capacity.adapter_page_rows)))
        return ModulePages(layer, module, rank, taken)

    def _evict(self, slot: int) -> int:
        _, modules = self._slots.pop(slot)
        for module in modules:
            self._free_pages[module.layer, module.module].extend(module.pages)
        self.evictions += 1
        return slot

    def _leave(self, job: Job) -> None:
        self._running.remove(job)
        self._free_blocks.extend(job.blocks)
        self._release.append(job.row)
        self._free_rows.insert(0, job.row)
        job.blocks, job.row, job.slot = [], -1, BASE_SLOT

    def _shuffled(self, count: int) -> list[int]:
        numbers = list(range(count))
        self._random.shuffle(numbers)
        return numbers
