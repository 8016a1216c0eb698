"""honcho's manager, told what to do in words of ours."""

import multiprocessing
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from honcho.manager import Manager
from honcho.printer import Message
from honcho.process import Process

from scripts.stack.leash import end_with_parent
from scripts.stack.logs import Logs
from scripts.stack.services import Service


@dataclass(frozen=True, slots=True)
class Ended:
    """A service that ended by itself."""

    service: str
    status: int


class LeashedProcess(Process):  # type: ignore[misc]  # honcho carries no types
    """Its relay ends with the supervisor, and the service with the relay."""

    def run(self, events: Any = None, ignore_signals: bool = False) -> None:
        end_with_parent(signal.SIGKILL)
        super().run(events, ignore_signals)


class Screen:
    """honcho's printer: lines go to the services' logs; what is loud goes to `show` too, once `talking`."""

    def __init__(self, logs: Logs, show: Callable[[str], None]) -> None:
        self.width = 0
        self.talking = False
        self._logs = logs
        self._show = show

    def write(self, message: Message) -> None:
        data = message.data if isinstance(message.data, str) else message.data.decode("utf-8", "replace")
        for line in data.splitlines():
            if self._logs.of(message.name).write(line) and self.talking:
                self._show(f"{message.name}: {self._logs.of(message.name).complaint}")


class Supervisor(Manager):  # type: ignore[misc]  # honcho carries no types
    """Runs the services until one ends or a signal comes, then ends them all; `ended` is the one that began it."""

    def __init__(
        self,
        services: Sequence[Service],
        environment: Mapping[str, str],
        screen: Screen,
        on_started: Callable[[], None],
    ) -> None:
        super().__init__(printer=screen)
        self._process_ctor = LeashedProcess
        self._on_started = on_started
        self._told_started = False
        self._asked_early = False
        self.ended: Ended | None = None
        self.stopping = threading.Event()
        for service in services:
            self.add_process(service.name, service.command, env=dict(environment))

    def terminate(self) -> None:
        if not self._all_started():
            self._asked_early = True  # honcho cannot stop what it has not heard the start of
            return
        if not self.stopping.is_set():
            ended = ((name, state["returncode"]) for name, state in self._processes.items() if "returncode" in state)
            self.ended = next((Ended(name, status) for name, status in ended), None)
            self.stopping.set()
            self._printer.talking = False
        super().terminate()

    def _system_print(self, data: str) -> None:
        """Where honcho tells of starts, signals and ends: we have words of our own for them."""
        if not self._all_started() or self._told_started:
            return
        self._told_started = True
        if self._asked_early:
            self.terminate()
        else:
            self._on_started()


def use_fork() -> None:
    """honcho hands its processes objects that only a fork can carry over."""
    multiprocessing.set_start_method("fork", force=True)
