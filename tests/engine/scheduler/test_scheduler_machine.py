"""Whatever happens, and in whatever order, every law holds and nobody's tokens change."""

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chorus_engine.core.errors import AdapterUnavailable
from chorus_engine.core.load import SlotState
from chorus_engine.core.request import Band, FinishReason, Request
from chorus_engine.core.spec import Capacity
from chorus_engine.scheduler.chunks import ChunkPolicy
from chorus_engine.scheduler.eviction import make_policy
from tests.engine.scheduler.drive import Drive, footprint, request
from tests.engine.scheduler.fake_runner import answer
from tests.engine.scheduler.guessing import Guessing
from tests.support.often import often

TIGHT = Capacity(
    max_model_len=48,
    max_num_seqs=5,
    max_num_batched_tokens=7,
    block_size=4,
    num_blocks=14,
    max_adapters=2,
    adapter_page_rows=8,
    adapter_pages=3,
    max_lora_rank=24,
)
RANKS = {"x": 8, "y": 16, "z": 24, "w": 4}
NAMESPACES = [b"", b"one", b"other"]


class SchedulerMachine(RuleBasedStateMachine):
    """Requests come and go, adapters are fetched, fail and leave the host, steps overlap at random.

    Prompts are beginnings of a few texts, answers included, under few namespaces, so that blocks are found, copied,
    evicted and swapped all the time; a namespace is used with several adapters, as no gateway would.
    """

    @initialize(
        depth=st.integers(1, 3),
        load_steps=st.integers(0, 3),
        patience=st.sampled_from([0.0, 0.5, 5.0]),
        rows=st.integers(1, 5),
        blocks=st.integers(12, 30),
        budget=st.sampled_from([7, 12, 64]),
        swap_blocks=st.sampled_from([0, 3, 12, 40]),
        swap_seconds=st.sampled_from([0.1, 1.0, 3.0]),
        chunk=st.sampled_from([1, 6, 512]),
        caching=st.sampled_from([True, True, True, False]),
        policy=st.sampled_from(["demand", "lru"]),
        slots=st.sampled_from([(2, 3), (4, 6)]),
        right=st.sampled_from([None, None, 0.0, 0.6, 1.0]),
        verified=st.sampled_from([0, 8, 64]),
    )
    def start(
        self,
        depth: int,
        load_steps: int,
        patience: float,
        rows: int,
        blocks: int,
        budget: int,
        swap_blocks: int,
        swap_seconds: float,
        chunk: int,
        caching: bool,
        policy: str,
        slots: tuple[int, int],
        right: float | None,
        verified: int,
    ) -> None:
        capacity = replace(
            TIGHT,
            max_adapters=slots[0],
            adapter_pages=slots[1],
            max_num_seqs=rows,
            num_blocks=blocks,
            max_num_batched_tokens=budget,
            swap_blocks=swap_blocks,
            swap_seconds=swap_seconds,
            recompute_seconds=1.0,
            max_verified=verified,
        )
        chunks = ChunkPolicy(tokens=chunk)
        self.drive = Drive(
            capacity,
            depth,
            load_steps,
            patience,
            prefix_caching=caching,
            chunks=chunks,
            eviction=make_policy(policy),
            speculator=None if right is None else Guessing(right),
        )
        self.asked = 0  # requests for adapters
        self.texts: list[tuple[int, ...]] = [tuple(range(24)), (*range(9), *range(15))]
        self.requests: dict[str, Request] = {}
        self.fetching: set[str] = set()
        self.hosted: set[str] = set()

    @rule(
        text=st.integers(0, 99),
        prompt=st.integers(1, 24),
        max_tokens=st.integers(1, 24),
        adapter=st.sampled_from([None, None, *RANKS]),
        band=st.sampled_from(Band),
        counter=st.integers(0, 2),
        lifetime=st.none() | st.floats(0.02, 2.0),
        stop=st.lists(st.integers(0, 22), max_size=2).map(tuple),
        min_tokens=st.integers(0, 3),
        namespace=st.sampled_from(NAMESPACES),
        seed=st.integers(0, 1),
        copies=st.sampled_from([1, 1, 2, 3]),
    )
    def add(
        self,
        text: int,
        prompt: int,
        max_tokens: int,
        adapter: str | None,
        band: Band,
        counter: int,
        lifetime: float | None,
        stop: tuple[int, ...],
        min_tokens: int,
        namespace: bytes,
        seed: int,
        copies: int,
    ) -> None:
        now = self.drive.now
        tokens = self.texts[text % len(self.texts)][:prompt]
        for copy in range(copies):
            asked = request(
                f"r{len(self.requests)}",
                max_tokens=max_tokens,
                adapter=adapter,
                band=band,
                counter=counter,
                arrival=now,
                deadline=None if lifetime is None else now + lifetime,
                stop=stop,
                min_tokens=min_tokens,
                tokens=tokens,
                namespace=namespace,
                seed=seed + copy,
            )
            self.requests[asked.id] = asked
            self.drive.add(asked)
            self.asked += adapter is not None
        self.texts.append((*tokens, *answer(asked)[0])[:24])

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.drive.scheduler.cancel(data.draw(st.sampled_from(sorted(self.requests))))

    @rule()
    def begin_fetches(self) -> None:
        wanted = set(self.drive.scheduler.wanted_adapters())
        assert wanted.isdisjoint(self.fetching | self.hosted)
        self.fetching |= wanted

    @precondition(lambda self: self.fetching)
    @rule(data=st.data(), good=st.booleans())
    def end_fetch(self, data: st.DataObject, good: bool) -> None:
        digest = data.draw(st.sampled_from(sorted(self.fetching)))
        self.fetching.remove(digest)
        if good:
            self.hosted.add(digest)
            self.drive.host(footprint(digest, RANKS[digest]))
        else:
            self.drive.scheduler.adapter_failed(digest, AdapterUnavailable("the store did not answer; try again"))

    @precondition(lambda self: self.hosted)
    @rule(data=st.data(), pin=st.booleans())
    def prefetch(self, data: st.DataObject, pin: bool) -> None:
        slots, digest = self.drive.scheduler.slots, data.draw(st.sampled_from(sorted(self.hosted)))
        if slots.get(digest) is None and not (pin and slots.unpinnable(digest)):
            refusal = slots.prefetch(digest, self.drive.now, pin=pin)
            slot = slots.get(digest)
            assert (slot is not None and slot.state is SlotState.LOADING) == (refusal is None)

    def in_state(self, state: SlotState) -> list[str]:
        return sorted(each.digest for each in self.drive.scheduler.residency() if each.state is state)

    @precondition(lambda self: self.in_state(SlotState.READY))
    @rule(data=st.data(), verb=st.sampled_from(["pin", "unpin", "drain"]))
    def command(self, data: st.DataObject, verb: str) -> None:
        slots, digest = self.drive.scheduler.slots, data.draw(st.sampled_from(self.in_state(SlotState.READY)))
        before = slots.get(digest)
        assert before is not None
        if verb == "unpin":
            slots.unpin(digest)
            return
        refusal = slots.pin(digest) if verb == "pin" else slots.drain(digest)
        after = slots.get(digest)
        if verb == "pin":
            assert after is not None
            assert after.pinned == (refusal is None)
            assert refusal is None or not before.pinned
        else:
            assert (refusal is None) == (not before.pinned)
            assert after == before if refusal else after is None or after.state is SlotState.DRAINING

    @precondition(lambda self: self.hosted)
    @rule(data=st.data())
    def evict_from_host(self, data: st.DataObject) -> None:
        digest = data.draw(st.sampled_from(sorted(self.hosted)))
        if digest in self.in_state(SlotState.LOADING):
            return  # host memory keeps what is copied
        self.hosted.remove(digest)
        self.drive.scheduler.adapter_evicted(digest)

    @rule(steps=st.integers(1, 12), seconds=st.floats(0.0, 0.2))
    def run(self, steps: int, seconds: float) -> None:
        for _ in range(steps):
            self.drive.step(seconds)

    @precondition(lambda self: self.drive.in_flight)
    @rule()
    def commit_early(self) -> None:
        self.drive.commit()

    @invariant()
    def laws(self) -> None:
        if hasattr(self, "drive"):
            self.drive.scheduler.check()
            load = self.drive.scheduler.load()
            assert load.gpu_hits + load.host_hits + load.misses == self.asked
            assert load.adapter_loads - load.adapter_evictions == len(self.drive.scheduler.residency())

    def teardown(self) -> None:
        if not hasattr(self, "drive"):
            return
        for _ in range(3000):
            if self.drive.scheduler.idle:
                break
            for digest in {*self.drive.scheduler.wanted_adapters(), *self.fetching}:
                self.drive.host(footprint(digest, RANKS[digest]))
            self.fetching.clear()
            assert self.drive.step(0.1) or self.drive.scheduler.idle, "the scheduler has work and does none"
        assert self.drive.scheduler.idle, "work without an end"
        self.drive.outputs += self.drive.scheduler.take_outputs()
        load = self.drive.scheduler.load()
        assert (load.running, load.free_blocks) == (0, load.total_blocks)
        assert all(each.leases == 0 for each in self.drive.scheduler.residency())
        assert load.oldest_lease is None
        for asked in self.requests.values():
            self.judge(asked)

    def judge(self, asked: Request) -> None:
        """The oracle's tokens, whole or, when it was ended from outside, from their beginning."""
        expected, finish = answer(asked)
        tokens, end = self.drive.tokens(asked.id), self.drive.end(asked.id)
        if end.finish in (FinishReason.STOP, FinishReason.LENGTH):
            assert (tokens, end.finish) == (expected, finish)
        else:
            assert tokens == expected[: len(tokens)]
        assert end.usage is not None
        assert end.timing is not None
        assert (end.usage.prompt_tokens, end.usage.completion_tokens) == (len(asked.prompt), len(tokens))
        assert end.usage.cached_tokens < len(asked.prompt)
        assert asked.namespace or not end.usage.cached_tokens
        if tokens:
            passed = end.usage.computed_tokens + end.usage.cached_tokens
            assert passed >= len(asked.prompt) + len(tokens) - 1
        assert min(end.timing.queued, end.timing.prefill, end.timing.decode) >= 0.0


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(max_examples=often(100), stateful_step_count=40, deadline=None)
