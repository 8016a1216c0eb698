"""What a request is told that waits for too long, or would."""

import time

from chorus_gateway.errors import Overloaded
from chorus_gateway.queue.fair import FairQueue
from chorus_gateway.values import Job

_SOONEST = 1.0  # seconds after which a client may come back


def refuse_late(queue: FairQueue, job: Job, most: float) -> None:
    """Overloaded when its turn is not expected before its deadline and within `most` seconds."""
    left = most if job.deadline is None else min(most, job.deadline - time.monotonic())
    wait = queue.wait(job, left)
    if wait > left:
        retry = max(_SOONEST, wait - left)
        raise Overloaded(
            f"The gateway is overloaded: the request would wait about {wait:.0f} s for an engine and may wait"
            f" {max(0.0, left):.0f} s: try again in {retry:.0f} s.",
            retry_after=retry,
        )


def outwaited(queue: FairQueue, job: Job, most: float) -> Overloaded:
    """It has waited for `most` seconds."""
    retry = max(_SOONEST, queue.wait(job, 0.0))
    message = f"The request has waited {most:.0f} s for an engine: try again in {retry:.0f} s."
    return Overloaded(message, retry_after=retry)
