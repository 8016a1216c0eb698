"""Memory that a setting asks for and the machine does not have."""

from collections.abc import Iterator
from contextlib import contextmanager

from chorus_engine.core.errors import StartError


@contextmanager
def asked_for(what: str, remedy: str) -> Iterator[None]:
    """Around allocations at the start: StartError with `what` lacks memory and the setting to change, as `remedy`."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch and numpy have no more in common
        reason = str(error).partition("\n")[0]
        raise StartError(f"There is no memory for {what}; {remedy} ({reason}).") from error
