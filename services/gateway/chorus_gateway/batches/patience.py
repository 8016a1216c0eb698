"""Whether a line is asked once more, and when."""

import json

from chorus_gateway.batches.asking import Answered

FIRST, LONGEST = 0.5, 30.0  # seconds between two tries
LONGEST_UNTOLD = 5.0  # where the answer does not say when to come back: what was away may be there again
SUSPENDED = 30.0  # seconds until it is seen whether a suspended tenant is not any more
TRIES = 4  # of what may be the line's own fault: it must not bring down engines for a day


def wait_before_retry(answer: Answered, tries: int) -> float | None:
    """Seconds; None when the answer is final. What is away or full now is waited for until the batch's window ends."""
    if answer.status == 429 and answer.headers.get("x-should-retry") != "false":
        return max(_told(answer), FIRST)
    if answer.status == 503:
        return max(_told(answer), _grown(tries))
    if answer.status in (500, 504) and tries < TRIES:
        return _grown(tries)
    if answer.status == 403 and _code(answer) == "tenant_suspended":
        return SUSPENDED
    return None


def _told(answer: Answered) -> float:
    """What the answer says; at most LONGEST, since a limit may be raised meanwhile."""
    return min(LONGEST, float(answer.headers.get("retry-after-ms", 0)) / 1000)


def _grown(tries: int) -> float:
    return min(LONGEST_UNTOLD, FIRST * 2.0 ** min(tries - 1, 10))


def _code(answer: Answered) -> object:
    try:
        return json.loads(answer.body)["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return None
