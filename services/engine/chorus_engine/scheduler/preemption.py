"""Who gives way when KV blocks run out, and how what it has computed comes back."""

from collections.abc import Sequence as Items

from chorus_engine.core.spec import Capacity
from chorus_engine.scheduler.sequence import Sequence


def choose_victim(active: Items[Sequence]) -> Sequence:
    """The last in order (lowest band, greatest counter), sparing what is near its end when there is another."""
    return max(active, key=lambda sequence: (not sequence.near_end, sequence.order))


def is_swap_cheaper(capacity: Capacity, blocks: int, tokens: int) -> bool:
    """Whether bringing `blocks` to the host and back takes less time than computing `tokens` again."""
    if not capacity.swap_seconds or not capacity.recompute_seconds:
        return False
    return 2 * blocks * capacity.swap_seconds < tokens * capacity.recompute_seconds
