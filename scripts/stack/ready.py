import threading
from collections.abc import Sequence

from scripts.progress import Progress
from scripts.stack.logs import Logs
from scripts.stack.services import Service

POLL_SECONDS = 0.1


def await_healthy(services: Sequence[Service], logs: Logs, step: Progress, stopping: threading.Event) -> None:
    """Until all are healthy or the stack stops, however long: a large model takes minutes, and `step` says so."""
    for service in services:
        while not stopping.is_set() and (problem := service.problem()):
            step.note = f"{service.name}: {logs.of(service.name).said or problem}"
            stopping.wait(POLL_SECONDS)
