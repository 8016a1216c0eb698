import threading
from collections.abc import Sequence

from scripts.progress import Progress
from scripts.stack.logs import Logs
from scripts.stack.services import Service

POLL_SECONDS = 0.1


class Stopped(Exception):
    """The stack is being stopped; there is nothing to wait for."""


def await_healthy(services: Sequence[Service], logs: Logs, step: Progress, stopping: threading.Event) -> None:
    """However long: a large model takes minutes, and `step` says so. Raises Stopped."""
    for service in services:
        while problem := service.problem():
            if stopping.is_set():
                raise Stopped
            step.note = f"{service.name}: {logs.of(service.name).said or problem}"
            stopping.wait(POLL_SECONDS)
