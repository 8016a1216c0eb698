"""The scheduler: schedule a step, and later commit its result.

Steps may be scheduled and launched before earlier ones are committed. What a step in flight uses (row, blocks, slot) is
given back only when it is committed, whatever became of the request meanwhile.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from heapq import merge

from chorus_engine.core.draft import NO_DRAFT, Draft
from chorus_engine.core.errors import AdapterError, AdapterUnusable, InvalidRequest
from chorus_engine.core.load import Load, Residency
from chorus_engine.core.plan import Reading, StepPlan, StepResult
from chorus_engine.core.request import FinishReason, Output, Request
from chorus_engine.core.spec import AdapterFootprint, Capacity
from chorus_engine.scheduler.batch import Batch
from chorus_engine.scheduler.beams import BeamSearches
from chorus_engine.scheduler.chunks import ChunkPolicy
from chorus_engine.scheduler.deadlines import Deadlines
from chorus_engine.scheduler.drafting import Drafting, Launched, Speculator
from chorus_engine.scheduler.eviction import Demand, EvictionPolicy
from chorus_engine.scheduler.limits import check_adapter, check_capacity, check_request
from chorus_engine.scheduler.memory import KvMemory
from chorus_engine.scheduler.pages import PagePools
from chorus_engine.scheduler.placement import Placement
from chorus_engine.scheduler.preemption import choose_victim
from chorus_engine.scheduler.ripeness import Ripeness
from chorus_engine.scheduler.rows import RowTable
from chorus_engine.scheduler.sequence import NO_ROW, Sequence
from chorus_engine.scheduler.slot_tier import SlotTier
from chorus_engine.scheduler.slots import SlotTable
from chorus_engine.scheduler.waiting import Order, WaitingQueue
from chorus_engine.scheduler.whereabouts import Reach, Whereabouts

NOTHING_READ = Reading(-1)


@dataclass(frozen=True, slots=True)
class _Flight:
    """A step launched and not committed."""

    step: int
    members: tuple[Sequence, ...]  # aligned with the plan's rows
    launched: Launched | None  # where there are drafts


class Scheduler:
    """Not thread-safe: one loop owns it. `now` is that loop's monotonic clock in seconds, as in Request."""

    def __init__(
        self,
        capacity: Capacity,
        slot_patience: float = 2.0,
        *,
        prefix_caching: bool = True,
        chunks: ChunkPolicy = ChunkPolicy(),  # noqa: B008 - a frozen value
        eviction: EvictionPolicy | None = None,
        speculator: Speculator | None = None,
    ) -> None:
        """`slot_patience`: seconds after which a request drains a slot for its adapter. `eviction`: Demand by default.
        `speculator`: without one nothing is drafted.

        Raises StartError.
        """
        check_capacity(capacity)
        self._capacity = capacity
        self._chunks = chunks
        self._memory = KvMemory(capacity, prefix_caching)
        self._drafting = None if speculator is None else Drafting(speculator, self._memory, capacity.max_drawn)
        self._rows = RowTable(capacity.max_num_seqs)
        pages = PagePools(
            capacity.adapter_pages, capacity.adapter_page_rows, capacity.vocab_pages, capacity.max_lora_rank
        )
        self._slots = SlotTable(capacity.max_adapters, pages)
        self._where = Whereabouts(self._slots)
        self._waiting = WaitingQueue(self._where.reach)
        self._ripeness = Ripeness(slot_patience)
        self._placement = Placement(
            self._slots, self._waiting, self._rows, self._where, self._ripeness, eviction or Demand()
        )
        self.slots = SlotTier(self._slots, self._where, self._placement)
        self._deadlines = Deadlines()
        self._beams = BeamSearches()
        self._live: dict[str, Sequence] = {}  # request id -> not ended
        self._flights: deque[_Flight] = deque()
        self._outputs: list[Output] = []  # that nobody took yet
        self._now = 0.0  # of the last call that said it
        self._serial = 0
        self._step = 0
        self._preemptions = 0
        self._swaps = 0
        self._short_of_blocks = False

    # ---------------------------------------------------------------- requests and adapters come and go

    def add(self, request: Request) -> None:
        """Raises InvalidRequest or AdapterUnusable for what can never be served."""
        if request.id in self._live or request.id in self._beams:
            raise InvalidRequest(f"request id {request.id} is in use; choose another")
        check_request(request, self._capacity)
        if request.adapter is not None:
            if (refusal := self._where.refusal(request.adapter)) is not None:
                raise AdapterUnusable(refusal)
            self._placement.asked(request.adapter, request.arrival)
        for each in (request,) if request.beams is None else self._beams.begin(request, request.beams):
            self._start(each)

    def cancel(self, request_id: str, reason: FinishReason = FinishReason.CANCELLED) -> None:
        """End a request; unknown ones are ignored, since an end and a cancel may cross."""
        for name in self._beams.open(request_id) if request_id in self._beams else (request_id,):
            if (sequence := self._live.get(name)) is not None:
                self._end(sequence, reason)

    def wanted_adapters(self) -> tuple[str, ...]:
        """Digests to fetch, the first needed first; each is named once until fetched, failed or evicted."""
        return self._placement.wanted()

    def adapter_fetched(self, footprint: AdapterFootprint) -> None:
        """The host's memory holds the adapter, converted and verified. One that never fits is refused from now on."""
        try:
            check_adapter(footprint, self._capacity)
        except AdapterUnusable as error:
            self._placement.refused(footprint.digest, str(error))
            self._end_waiting(footprint.digest, error)
        else:
            self._placement.fetched(footprint)

    def adapter_failed(self, digest: str, error: AdapterError) -> None:
        """The fetch ended badly: what waits for it ends with `error`, unless a slot holds the adapter after all."""
        self._placement.failed(digest)
        self._end_waiting(digest, error)

    def awaits_adapter(self, digest: str) -> bool:
        """Whether a request waits for the adapter or a slot loads it; the host's memory must keep it."""
        reach = self._where.reach(digest)
        if reach is Reach.HELD and self._slots.is_loading(digest):
            return True
        return reach is not Reach.READY and self._waiting.waits_for(digest)

    def priority(self, digest: str) -> Order | None:
        """Of the first request that waits for the adapter: the lowest goes first. None when none waits."""
        first = self._waiting.first(digest)
        return None if first is None else first.order

    def adapter_evicted(self, digest: str) -> None:
        """The host's memory dropped the adapter; a slot that holds it goes on."""
        self._placement.evicted(digest)

    # ---------------------------------------------------------------- one step

    def schedule(self, now: float) -> StepPlan | None:
        """The next step, or None when there is nothing to do before a commit or a change from outside."""
        self._now = now
        if self._flights and self._awaits_commit(self._flights[-1]):
            return None
        self._memory.begin_step()
        for sequence in self._deadlines.pop_due(now):
            self._end(sequence, FinishReason.DEADLINE)
        for request_id in self._beams.due(now):
            self.cancel(request_id, FinishReason.DEADLINE)
        self._short_of_blocks = not self._grow()
        loads = self._placement.place(now)
        batch = Batch(self._capacity.max_num_batched_tokens, self._capacity.block_size, self._memory)
        self._compute(batch, now)
        awaits_load = self._slots.loading > 0 and not self._flights
        if not batch.rows and not loads and not awaits_load:
            return None
        self._step += 1
        launched = None if self._drafting is None else self._drafting.launched(batch, now)
        self._flights.append(_Flight(self._step, tuple(batch.members), launched))
        return batch.plan(self._step, self._rows.take_released(), loads)

    def commit(self, plan: StepPlan, result: StepResult, now: float) -> tuple[Output, ...]:
        """Take in the result of the oldest step in flight. Outputs that waited for `take_outputs` come first."""
        self._now = now
        flight = self._flights.popleft()
        assert flight.step == plan.step == result.step, "steps are committed in order"
        for slot in result.loaded:
            self._slots.loaded(slot)
        readings = {reading.row: reading for reading in result.readings}
        failed = dict(result.failed)
        for index, (sequence, row, sampled) in enumerate(zip(flight.members, plan.rows, result.sampled, strict=True)):
            ended = sequence.finish is not None
            reading = readings.get(index, NOTHING_READ) if readings else NOTHING_READ
            prompt = sequence.read(row, reading) if row.read else ()
            tokens = sequence.receive(row, sampled, now)
            if tokens or prompt or (sequence.finish is not None and not ended):
                self._outputs.append(sequence.output(now, tokens, prompt=prompt, embedding=reading.embedding))
                if sequence.seal_at <= sequence.known and sequence.seal_at <= sequence.scheduled:
                    self._memory.seal(sequence)
            if (row.drafts or row.guesses) and sampled and self._drafting is not None:
                self._drafting.verified(sequence, row.drafted, len(sampled) - 1)
            if sequence.finish is not None and not ended:
                self._bury(sequence)
                self._leave(sequence)
            elif index in failed and not ended:
                self._end(sequence, FinishReason.ERROR, failed[index])
            elif not sequence.active:
                self._give_back(sequence)
        if self._drafting is not None and flight.launched is not None:
            self._drafting.committed(flight.launched, now, goes_on=self._rows.num_active > 0)
        return self.take_outputs()

    def take_outputs(self) -> tuple[Output, ...]:
        """Ends that no step brought about (cancel, deadline, adapter) since the last call or commit."""
        outputs, self._outputs = tuple(self._outputs), []
        if not self._beams:
            return outputs
        following = self._beams.follow(outputs, self._now)
        for name in following.cancel:
            self.cancel(name)
        for request in following.start:
            self._start(request)
        return tuple(following.told)

    def _awaits_commit(self, last: _Flight) -> bool:
        drafting, launched = self._drafting, last.launched
        return drafting is not None and launched is not None and drafting.awaits_commit(launched, self._rows.active)

    def _grow(self) -> bool:
        """Give active rows the blocks that their next positions need, by preemption if must be; whether all have."""
        enough = True
        for sequence in self._rows.active:
            if not sequence.cramped or not sequence.active:
                continue
            if self._make_room(sequence):
                self._memory.grow(sequence)
            else:
                enough = False
        return enough

    def _make_room(self, sequence: Sequence) -> bool:
        """Preempt until the blocks that the sequence misses are free; False when it gave way or waits for a commit."""
        missing = self._memory.missing(sequence)
        while self._memory.free < missing:
            leaving = self._rows.leaving()
            if leaving and self._memory.free + self._memory.releasable(leaving) >= missing:
                return False
            victim = choose_victim(self._rows.active)
            self._preemptions += 1
            self._leave(victim)
            if victim is sequence:
                return False
        return True

    def _compute(self, batch: Batch, now: float) -> None:
        """Rows that decode; then prompts that run and requests that wait, in one order, as far as the budget goes."""
        prompts = []
        drafts = self._drafts(batch.budget)
        for sequence in self._rows.active:
            remaining = sequence.remaining
            if not remaining or sequence.cramped:
                continue  # has asked for its last token, or waits for blocks of a row that leaves
            if remaining == 1:
                batch.add(sequence, 1, drafts.get(sequence.row, NO_DRAFT))
            else:
                prompts.append(sequence)
        if batch.rows:
            batch.budget = self._chunks.limit(len(prompts) + len(self._waiting), batch.budget)
        heads = self._heads() if self._rows.free else iter(())
        for sequence in merge(prompts, heads, key=lambda each: each.order):
            if not batch.budget:
                return
            if sequence.active:
                batch.add_prompt(sequence)
            else:
                self._admit(sequence, batch, now)

    def _drafts(self, budget: int) -> Mapping[int, Draft]:
        if self._drafting is None:
            return {}
        return self._drafting.choose(self._rows.active, budget, min(self._rows.free, len(self._waiting)))

    def _heads(self) -> Iterator[Sequence]:
        """Waiting requests whose adapter is ready, in order, until one of them is not admitted."""
        for sequence in self._waiting.in_order():
            yield sequence
            if not sequence.active:
                return

    def _admit(self, sequence: Sequence, batch: Batch, now: float) -> None:
        """If there is a row, and blocks: one for each active row stays free, or the next steps would undo this."""
        if not self._rows.free:
            return
        fit = self._memory.fit(sequence, spare=self._rows.num_active)
        if fit is None:
            self._short_of_blocks = True
            return
        self._waiting.remove(sequence)
        self._memory.enter(sequence, fit)
        adapter = sequence.request.adapter
        slot = None if adapter is None else self._slots.lease(adapter, now)
        sequence.enter(self._rows.next_free(), slot, now)
        self._rows.enter(sequence)
        batch.admit(sequence)

    # ---------------------------------------------------------------- the beginning and the end of a request

    def _start(self, request: Request) -> Sequence:
        self._now = max(self._now, request.arrival)
        self._serial += 1
        sequence = Sequence(request, self._serial)
        self._live[request.id] = sequence
        self._wait(sequence)
        self._deadlines.push(sequence)
        return sequence

    def _end(self, sequence: Sequence, reason: FinishReason, error: Exception | None = None) -> None:
        sequence.finish = reason
        self._bury(sequence)
        self._outputs.append(sequence.output(self._now, error=error))
        if sequence.row == NO_ROW:
            self._waiting.remove(sequence)
            self._memory.drop(sequence)
        else:
            self._leave(sequence)

    def _bury(self, sequence: Sequence) -> None:
        del self._live[sequence.request.id]
        if self._drafting is not None:
            self._drafting.ended(sequence)

    def _leave(self, sequence: Sequence) -> None:
        """The row takes no further steps."""
        if sequence.active:
            self._rows.retire(sequence)
        self._give_back(sequence)

    def _give_back(self, sequence: Sequence) -> None:
        """Row, blocks and slot of a row that leaves, once no step in flight uses them."""
        if sequence.in_flight:
            return
        if sequence.slot is not None:
            self._slots.release(sequence.slot, self._now)
        self._rows.release(sequence)
        self._swaps += self._memory.leave(sequence)
        if sequence.finish is None:
            self._wait(sequence)

    def _wait(self, sequence: Sequence) -> None:
        self._waiting.push(sequence)
        self._ripeness.push(sequence)

    def _end_waiting(self, digest: str, error: AdapterError) -> None:
        if self._slots.get(digest) is None:
            for sequence in self._waiting.group(digest):
                self._end(sequence, FinishReason.ERROR, error)

    # ---------------------------------------------------------------- what others may know

    @property
    def idle(self) -> bool:
        """Nothing lives and nothing is in flight."""
        return not self._live and not self._flights

    def next_deadline(self) -> float | None:
        deadlines = (self._deadlines.next(), self._beams.next_deadline())
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def load(self) -> Load:
        return Load(
            running=len(self._rows),
            waiting=len(self._waiting),
            waits_for_blocks=self._short_of_blocks,
            free_blocks=self._memory.free,
            total_blocks=self._memory.total,
            preemptions=self._preemptions,
            swaps=self._swaps,
            adapter_loads=self._slots.loads,
            adapter_evictions=self._slots.evictions,
            free_slots=self._slots.free,
            idle_slots=sum(not self._waiting.waits_for(slot.digest) for slot in self._slots.idle()),
            gpu_hits=self._placement.gpu_hits,
            host_hits=self._placement.host_hits,
            misses=self._placement.misses,
            oldest_lease=self._rows.oldest_lease,
        )

    def residency(self) -> tuple[Residency, ...]:
        """Every adapter in the pool."""
        return self._slots.residency()

    def check(self) -> None:
        """The laws of conservation, asserted; costs time that grows with everything held."""
        held = self._rows.held
        self._rows.check()
        self._placement.sync()
        self._waiting.check()
        self._memory.check(held, self._waiting.everyone())
        self._beams.check([*self._live, *(output.request_id for output in self._outputs)])
        leases: dict[int, int] = {}
        for sequence in held:
            if sequence.slot is not None:
                leases[sequence.slot] = leases.get(sequence.slot, 0) + 1
            assert sequence.in_flight == sum(sequence in flight.members for flight in self._flights)
            assert sequence.active or sequence.in_flight, "a leaving row has a step in flight"
        self._slots.check(leases)
        waiting = len(self._live) - sum(sequence.finish is None for sequence in held)
        assert waiting == len(self._waiting)
