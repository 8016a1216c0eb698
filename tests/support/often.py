"""How much of what is drawn at random is tried: `make test-long` asks for more."""

import os


def often(times: int) -> int:
    """As many examples, or operations, as the suite has of them by itself; CHORUS_TEST_TIMES multiplies it."""
    return times * int(os.environ.get("CHORUS_TEST_TIMES", "1"))
