"""A runner without a model. Its next token is a hash of what it reads back from a model of the device's memory.

It obeys the plan to the letter and asserts that the plan makes sense, so that wrong block tables, stale rows, blocks
shared too early or overwritten too soon, or exchanged adapters either fail at once or change the tokens.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from zlib import crc32

from chorus_engine.core.plan import BASE_SLOT, Admission, RowStep, SlotLoad, StepPlan, StepResult
from chorus_engine.core.request import FinishReason, Request, SampledToken, SamplingParams
from chorus_engine.core.spec import Capacity
from tests.engine.scheduler.fake_device import FakeDevice, Row

VOCAB = 23


def next_token(tokens: Iterable[int], digest: str | None, seed: int) -> int:
    return crc32(repr((list(tokens), digest, seed)).encode()) % VOCAB


def likeliest(tokens: Iterable[int], digest: str | None, count: int) -> tuple[tuple[int, float], ...]:
    """Tokens with something like log probabilities, the best first."""
    tokens = list(tokens) if count else []
    worths = [(-crc32(repr((tokens, digest, token)).encode()) / 2**30, token) for token in range(VOCAB if count else 0)]
    return tuple((token, worth) for worth, token in sorted(worths, reverse=True)[:count])


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


class FakeRunner:
    """Computes at launch, in order, as a device's stream does; results are read when the caller likes.

    It knows of `requests` (by id) only to judge whose memory a row may read.
    """

    def __init__(self, capacity: Capacity, requests: Mapping[str, Request], load_steps: int = 0) -> None:
        self._capacity = capacity
        self._requests = requests
        self._load_steps = load_steps  # steps after which a load is ready
        self._device = FakeDevice(capacity.num_blocks, capacity.swap_blocks, capacity.block_size)
        self._rows: dict[int, Row] = {}
        self._sampling: dict[int, SamplingParams] = {}
        self._slots: dict[int, SlotLoad] = {}
        self._row_slots: dict[int, int] = {}
        self._ready: set[int] = set()
        self._loading: deque[tuple[int, int]] = deque()  # (step at which it is ready, slot)

    def launch(self, plan: StepPlan) -> StepResult:
        for row in plan.release:
            del self._rows[row], self._row_slots[row]
        self._check_moves(plan)
        self._device.swap_out(plan.swap_out)
        for load in plan.load:
            self._load(plan.step, load)
        for admission in plan.admit:
            self._admit(admission)
        self._device.clear(block for step in plan.rows for block in step.new_blocks)
        self._device.swap_in(plan.swap_in)
        self._device.copy(plan.copy)
        return StepResult(plan.step, self._run(plan), self._loaded(plan))

    # ---------------------------------------------------------------- before the rows

    def _check_moves(self, plan: StepPlan) -> None:
        """What is filled anew belongs to nobody, and the order of clearing, swapping in and copying does not matter."""
        cleared = [block for step in plan.rows for block in step.new_blocks]
        targets = [*cleared, *(block for _, block in plan.swap_in), *(block for _, block in plan.copy)]
        assert len(set(targets)) == len(targets), "a block is filled twice"
        assert set(targets).isdisjoint(source for source, _ in plan.copy), "what is copied is overwritten"
        for row in self._rows.values():
            assert set(targets).isdisjoint(row.blocks), "a block that a row holds is given to another"
        hosts = [host for _, host in plan.swap_out]
        assert len(set(hosts)) == len(hosts), "a host block is filled twice"

    def _load(self, step: int, load: SlotLoad) -> None:
        assert 0 <= load.slot < self._capacity.max_adapters
        assert load.slot not in self._row_slots.values(), "a load into a slot that a row uses"
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
        request = self._requests[admission.request_id.partition("\0")[0]]  # a path of a search is named after it
        assert 0 <= admission.row < self._capacity.max_num_seqs
        assert admission.row not in self._rows, "a row admitted twice"
        assert admission.slot == BASE_SLOT or admission.slot in self._ready, "a row on a slot that is not ready"
        digest = None if admission.slot == BASE_SLOT else self._slots[admission.slot].digest
        assert digest == request.adapter
        assert admission.token_ids[: len(request.prompt)] == request.prompt
        assert admission.prompt_len == len(request.prompt) or request.beams is not None
        owner = (request.namespace or request.id.encode(), digest)
        self._rows[admission.row] = Row(owner, list(admission.token_ids), list(admission.blocks))
        self._row_slots[admission.row] = admission.slot
        self._sampling[admission.row] = admission.sampling

    # ---------------------------------------------------------------- the rows

    def _run(self, plan: StepPlan) -> tuple[tuple[SampledToken, ...], ...]:
        """All rows write before any reads, as in each layer of a model."""
        admitted = {admission.row for admission in plan.admit}
        rows = {step.row for step in plan.rows}
        assert len(rows) == len(plan.rows)
        assert admitted <= rows, "a row is admitted for nothing"
        assert sum(step.count for step in plan.rows) <= self._capacity.max_num_batched_tokens
        assert sum(step.sample + step.drafted for step in plan.rows) <= self._capacity.max_drawn
        for step in plan.rows:
            self._extend(step, first=step.row in admitted)
        for step in plan.rows:
            self._write(step, admitted)
        for row in self._rows.values():  # rows beside this step's too: nobody's memory may change
            self._device.read(row)
        return tuple(self._sample(step) for step in plan.rows)

    def _extend(self, step: RowStep, first: bool) -> None:
        row, size = self._rows[step.row], self._capacity.block_size
        if first:
            row.computed = step.start
            assert len(row.blocks) == -(-step.start // size), "blocks of an admission are those with something in them"
        assert step.start == row.computed, "positions are contiguous"
        assert step.count > step.drafted >= 0
        assert step.start + step.count - step.drafted <= len(row.tokens), "a position whose token nobody knows"
        assert not step.drafted or (step.count == 1 + step.drafted and step.sample and not step.read)
        assert not (step.drafts and step.guesses), "drafts of two minds"
        row.blocks.extend(step.new_blocks)
        assert step.start + step.count <= len(row.blocks) * size, "a position without a block"
        assert len(set(row.blocks)) == len(row.blocks)

    def _write(self, step: RowStep, admitted: set[int]) -> None:
        row, size = self._rows[step.row], self._capacity.block_size
        row.computed = step.start + step.count - step.drafted
        written = set(row.blocks[step.start // size : (step.start + step.count - 1) // size + 1])
        for index, other in self._rows.items():
            if index != step.row and index not in admitted:
                assert written.isdisjoint(other.blocks), "a write into a block that another row has read"
        for position in range(step.start, row.computed):
            self._device.write(row, position)
        if step.drafted:
            self._guess(step, row)

    def _guess(self, step: RowStep, row: Row) -> None:
        """Drafts are written behind the row's own token, as if they were right; what is right is counted as computed.

        `row.tokens` then has the row's next tokens but one, as the device has them: nobody is told before the commit.
        """
        drafts = step.drafts or [(self._next(step, row) + step.start % 2) % VOCAB for _ in range(step.guesses)]
        right = True
        for position, draft in enumerate(drafts, row.computed):
            wanted = self._next(step, row) if right else -1
            right = right and draft == wanted
            if right:
                row.tokens.append(draft)
                self._device.write(row, position)
                row.computed += 1
            else:
                assert position < len(row.blocks) * self._capacity.block_size
                self._device.spoil(row, position, draft)

    def _next(self, step: RowStep, row: Row) -> int:
        return next_token(row.tokens, row.owner[1], self._sampling[step.row].seed)

    def _sample(self, step: RowStep) -> tuple[SampledToken, ...]:
        if not step.sample:
            return ()
        row = self._rows[step.row]
        assert row.computed == len(row.tokens), "a token is drawn from the last position"
        sampling, read = self._sampling[step.row], self._device.read(row)
        token = next_token(read, row.owner[1], sampling.seed)
        row.tokens.append(token)
        if step.drafted:
            return tuple(SampledToken(token) for token in row.tokens[step.start + step.count - step.drafted :])
        return (SampledToken(token, top=likeliest(read, row.owner[1], sampling.logprobs or 0)),)
