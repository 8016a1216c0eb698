"""A runner without a model. Its cache is a dictionary, its next token a hash of what it reads back from that cache.

It obeys the plan to the letter and asserts that the plan makes sense, so that wrong block tables, stale rows or
exchanged adapters either fail at once or change the tokens.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from zlib import crc32

from chorus_engine.core.plan import BASE_SLOT, Admission, RowStep, SlotLoad, StepPlan, StepResult
from chorus_engine.core.request import FinishReason, Request, SampledToken, SamplingParams
from chorus_engine.core.spec import Capacity

VOCAB = 23


def next_token(tokens: Iterable[int], digest: str | None, seed: int) -> int:
    return crc32(repr((list(tokens), digest, seed)).encode()) % VOCAB


def answer(request: Request) -> tuple[list[int], FinishReason]:
    """The oracle: what the request must get, whatever runs beside it."""
    sampling = request.sampling
    tokens = list(request.prompt)
    produced: list[int] = []
    while len(produced) < sampling.max_tokens:
        token = next_token(tokens, request.adapter, sampling.seed)
        tokens.append(token)
        produced.append(token)
        if token in sampling.stop_token_ids and len(produced) > sampling.min_tokens:
            return produced, FinishReason.STOP
    return produced, FinishReason.LENGTH


@dataclass
class Row:
    slot: int
    sampling: SamplingParams
    tokens: list[int]
    blocks: list[int] = field(default_factory=list)
    computed: int = 0


class FakeRunner:
    """Computes at launch, in order, as a device's stream does; results are read when the caller likes."""

    def __init__(self, capacity: Capacity, load_steps: int = 0) -> None:
        self._capacity = capacity
        self._load_steps = load_steps  # steps after which a load is ready
        self._rows: dict[int, Row] = {}
        self._slots: dict[int, SlotLoad] = {}
        self._ready: set[int] = set()
        self._loading: deque[tuple[int, int]] = deque()  # (step at which it is ready, slot)
        self._cache: dict[tuple[int, int], tuple[int, int]] = {}  # (block, offset) -> (position, token id)

    def launch(self, plan: StepPlan) -> StepResult:
        for row in plan.release:
            del self._rows[row]
        for load in plan.load:
            self._load(plan.step, load)
        for admission in plan.admit:
            self._admit(admission)
        assert len({step.row for step in plan.rows}) == len(plan.rows)
        assert sum(step.count for step in plan.rows) <= self._capacity.max_num_batched_tokens
        assert all(any(step.row == admission.row for step in plan.rows) for admission in plan.admit)
        sampled = tuple(self._compute(step) for step in plan.rows)
        return StepResult(plan.step, sampled, self._loaded(plan))

    def _load(self, step: int, load: SlotLoad) -> None:
        assert 0 <= load.slot < self._capacity.max_adapters
        assert all(row.slot != load.slot for row in self._rows.values()), "a load into a slot that a row uses"
        self._slots[load.slot] = load
        self._ready.discard(load.slot)
        self._loading.append((step + self._load_steps, load.slot))

    def _loaded(self, plan: StepPlan) -> tuple[int, ...]:
        loaded = []
        while self._loading and (self._loading[0][0] <= plan.step or not plan.rows):
            loaded.append(self._loading.popleft()[1])
        self._ready.update(loaded)
        return tuple(loaded)

    def _admit(self, admission: Admission) -> None:
        assert 0 <= admission.row < self._capacity.max_num_seqs
        assert admission.row not in self._rows, "a row admitted twice"
        assert admission.slot == BASE_SLOT or admission.slot in self._ready, "a row on a slot that is not ready"
        self._rows[admission.row] = Row(admission.slot, admission.sampling, list(admission.token_ids))

    def _compute(self, step: RowStep) -> tuple[SampledToken, ...]:
        row = self._rows[step.row]
        row.blocks.extend(step.new_blocks)
        for block in step.new_blocks:
            assert 0 <= block < self._capacity.num_blocks
            owners = [other for other in self._rows.values() if block in other.blocks]
            assert owners == [row], f"block {block} is shared by rows"
        end = step.start + step.count
        assert step.start == row.computed, "positions are contiguous"
        assert step.count > 0
        assert end <= len(row.tokens), "a position whose token nobody knows"
        size = self._capacity.block_size
        for position in range(step.start, end):
            self._cache[row.blocks[position // size], position % size] = (position, row.tokens[position])
        row.computed = end
        if not step.sample:
            return ()
        assert end == len(row.tokens), "a token is drawn from the last position"
        token = next_token(self._read(row), self._digest(row), row.sampling.seed)
        row.tokens.append(token)
        return (SampledToken(token),)

    def _read(self, row: Row) -> list[int]:
        size = self._capacity.block_size
        read = [self._cache[row.blocks[position // size], position % size] for position in range(row.computed)]
        assert [position for position, _ in read] == list(range(row.computed))
        return [token for _, token in read]

    def _digest(self, row: Row) -> str | None:
        return None if row.slot == BASE_SLOT else self._slots[row.slot].digest
