"""What a check of the limits found."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Level:
    """One subject's account after the check, with what was granted. Figures of limits that it lacks are zero."""

    in_flight: int = 0
    requests: float = 0.0  # backlog of the minute's requests, µs
    tokens: float = 0.0  # likewise
    day_spent: int = 0  # tokens
    day_held: int = 0  # by requests in flight
    budget_spent: int = 0  # billionths
    budget_held: int = 0
