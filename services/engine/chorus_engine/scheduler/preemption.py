"""Who gives way when KV blocks run out."""

from collections.abc import Sequence as Items

from chorus_engine.scheduler.sequence import Sequence


def choose_victim(active: Items[Sequence]) -> Sequence:
    """The youngest of the lowest band, sparing what is near its end when there is another."""
    return max(active, key=lambda sequence: (not sequence.near_end, sequence.age))
