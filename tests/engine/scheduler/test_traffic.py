"""Long random traffic over a small memory: every block a row reads holds what the row would have written itself.

The fake runner asserts that at each step for every row; here is traffic that makes blocks be found, copied, evicted and
swapped often, with ends from outside and steps in flight, and the proof that it did.
"""

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from chorus_engine.core.plan import StepPlan
from chorus_engine.core.request import Band, FinishReason, Request
from chorus_engine.core.spec import Capacity
from chorus_engine.scheduler.chunks import ChunkPolicy
from tests.engine.scheduler.drive import Drive, footprint, request
from tests.engine.scheduler.fake_runner import answer
from tests.engine.scheduler.guessing import Guessing

CAPACITY = Capacity(
    max_model_len=48,
    max_num_seqs=6,
    max_num_batched_tokens=20,
    block_size=4,
    num_blocks=16,
    max_adapters=2,
    adapter_page_rows=8,
    adapter_pages=3,
    recompute_seconds=1.0,
)
ADAPTERS = {"x": 8, "y": 16}
TURNS = 500


class Traffic:
    def __init__(self, seed: int, depth: int) -> None:
        self.random = random = Random(seed)
        capacity = replace(
            CAPACITY,
            max_num_seqs=random.choice([2, 4, 6]),
            max_num_batched_tokens=random.choice([7, 20, 64]),
            num_blocks=random.choice([12, 16, 24]),
            swap_blocks=random.choice([0, 5, 20]),
            swap_seconds=random.choice([0.1, 1.5]),
            max_verified=random.choice([0, 16, 64]),
        )
        self.guessing = Guessing(right=random.choice([0.5, 0.9]), seed=seed) if seed % 2 else None
        chunks = ChunkPolicy(tokens=random.choice([2, 512]))
        self.drive = Drive(capacity, depth, load_steps=1, chunks=chunks, speculator=self.guessing)
        self.drive.host(*(footprint(digest, rank) for digest, rank in ADAPTERS.items()))
        self.texts = [tuple(random.randrange(3) for _ in range(24)) for _ in range(3)]
        self.seen: Counter[str] = Counter()

    def run(self) -> None:
        live = self.drive.scheduler.load
        for _ in range(TURNS):
            if live().waiting < 4 and self.random.random() < 0.3:
                self.add()
            if self.random.random() < 0.02 and self.drive.requests:
                self.drive.scheduler.cancel(self.random.choice(list(self.drive.requests)))
            if self.random.random() < 0.1 and self.drive.in_flight:
                self.drive.commit()
            self.drive.step()
        self.drive.run()
        for plan in self.drive.plans:
            self.note(plan)
        if self.guessing is not None:
            self.seen["taken"] += self.guessing.taken
            self.seen["refused"] += self.guessing.drafted - self.guessing.taken
            assert not self.guessing.live

    def add(self) -> None:
        """One prompt once or several times: the beginning of a text, or of a text and what was answered to it."""
        random, now = self.random, self.drive.now
        tokens = random.choice(self.texts)[: random.choice([8, 12, 16, 20, random.randint(1, 24)])]
        owner = random.choice([b"", b"one", b"one", b"two"])
        adapter = random.choice([None, None, *ADAPTERS])
        for seed in range(random.choice([1, 1, 2, 3])):
            asked = request(
                f"r{len(self.drive.requests)}",
                max_tokens=random.choice([1, 6, 24]),
                adapter=adapter,
                band=random.choice(list(Band)),
                counter=random.randrange(3),
                arrival=now,
                deadline=now + 0.5 if random.random() < 0.03 else None,
                tokens=tokens,
                namespace=owner,
                seed=seed,
            )
            self.drive.add(asked)
        self.texts[random.randrange(3)] = (*tokens, *answer(asked)[0], *random.choice(self.texts))[:24]

    def note(self, plan: StepPlan) -> None:
        fresh = {block for step in plan.rows for block in step.new_blocks}
        self.seen["found"] += sum(bool(admission.blocks) for admission in plan.admit)
        self.seen["found while filled"] += sum(not fresh.isdisjoint(admission.blocks) for admission in plan.admit)
        self.seen["copied"] += len(plan.copy)
        self.seen["swapped out"] += len(plan.swap_out)
        self.seen["swapped in"] += len(plan.swap_in)

    def judge(self, asked: Request) -> None:
        expected, finish = answer(asked)
        tokens, end = self.drive.tokens(asked.id), self.drive.end(asked.id)
        if end.finish in (FinishReason.STOP, FinishReason.LENGTH):
            assert (tokens, end.finish) == (expected, finish)
        else:
            assert tokens == expected[: len(tokens)]


@pytest.mark.parametrize("depth", [1, 2])
def test_nobody_reads_what_it_would_not_have_written(depth: int) -> None:
    seen: Counter[str] = Counter()
    for seed in range(25):
        traffic = Traffic(seed, depth)
        traffic.run()
        assert traffic.drive.scheduler.idle
        load = traffic.drive.scheduler.load()
        assert load.free_blocks == load.total_blocks
        for asked in traffic.drive.requests.values():
            traffic.judge(asked)
        seen += traffic.seen
    events = {"found", "found while filled", "copied", "swapped out", "swapped in", "taken", "refused"}
    assert {event for event in events if seen[event] >= 5} == events, f"traffic that proves little: {seen}"
