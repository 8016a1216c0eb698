"""Spans of the host's memory: nothing is lost, nothing is given twice."""

import hypothesis.strategies as st
from hypothesis import given, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from chorus_engine.adapters.arena import ALIGNMENT, Arena, Span
from tests.support.often import often

TOTAL = 64 * ALIGNMENT


class ArenaMachine(RuleBasedStateMachine):
    spans = Bundle("spans")

    def __init__(self) -> None:
        super().__init__()
        self.arena = Arena(TOTAL)
        self.held: set[Span] = set()

    @rule(target=spans, size=st.integers(1, 20 * ALIGNMENT))
    def allocate(self, size: int) -> Span | None:
        span = self.arena.allocate(size)
        if span is not None:
            assert span.bytes == size
            assert span.begin % ALIGNMENT == 0
            assert span.end <= TOTAL
            assert all(span.end <= other.begin or other.end <= span.begin for other in self.held)
            self.held.add(span)
        else:
            assert size > TOTAL - self.arena.used or len(self.held) > 0
        return span

    @rule(span=consumes(spans))
    def release(self, span: Span | None) -> None:
        if span is not None:
            self.held.discard(span)
            self.arena.release(span)

    @rule(size=st.integers(1, 20 * ALIGNMENT))
    def a_trial_leaves_no_trace(self, size: int) -> None:
        used = self.arena.used
        trial = self.arena.trial()
        for span in self.held:
            trial.release(span)
        assert trial.allocate(size) == Span(0, size), "an empty region is one hole"
        assert self.arena.used == used

    @invariant()
    def conserved(self) -> None:
        self.arena.check()
        assert self.arena.used == sum(span.end - span.begin for span in self.held)

    def teardown(self) -> None:
        for span in self.held:
            self.arena.release(span)
        self.arena.check()
        assert self.arena.free == TOTAL


TestArena = ArenaMachine.TestCase
TestArena.settings = settings(max_examples=often(60), stateful_step_count=40, deadline=None)


@given(st.lists(st.integers(1, 5 * ALIGNMENT), min_size=1, max_size=30))
def test_the_smallest_hole_that_is_large_enough_is_taken(sizes: list[int]) -> None:
    arena = Arena(1 << 20)
    spans = [arena.allocate(size) for size in sizes]
    holes = [span for i, span in enumerate(spans) if span is not None and i % 2 == 0 and i < len(spans) - 1]
    for span in holes:
        arena.release(span)
    for size in sizes:
        rooms = [hole.end - hole.begin for hole in holes]
        fitting = [room for room in rooms if room >= size]
        found = arena.trial().allocate(size)
        assert found is not None
        if fitting:
            best = min(fitting)
            assert any(found.begin == hole.begin and hole.end - hole.begin == best for hole in holes)
