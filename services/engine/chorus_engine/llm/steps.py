"""Schedule, launch, commit: in the caller's thread, whenever somebody waits for news."""

import time
from collections import deque

from chorus_engine.core.plan import StepPlan
from chorus_engine.core.request import Output, Request
from chorus_engine.runner import Pending, Runner
from chorus_engine.scheduler import Scheduler

PAUSE = 0.001  # seconds, where a request waits for time to pass


class Steps:
    def __init__(self, scheduler: Scheduler, runner: Runner, depth: int) -> None:
        """depth: steps launched and not committed."""
        self._scheduler = scheduler
        self._runner = runner
        self._depth = depth
        self._flights: deque[tuple[StepPlan, Pending]] = deque()
        self._news: dict[str, list[Output]] = {}  # of live requests

    def add(self, request: Request) -> None:
        """Raises InvalidRequest or AdapterUnusable for what can never be served."""
        self._scheduler.add(request)
        self._news[request.id] = []

    def drop(self, request_id: str) -> None:
        """The request ends, if it has not ended yet, and nobody hears of it any more."""
        self._scheduler.cancel(request_id)
        self._news.pop(request_id, None)

    def take(self, request_id: str) -> list[Output]:
        news, self._news[request_id] = self._news[request_id], []
        return news

    def advance(self) -> None:
        """One step on."""
        now = time.monotonic()
        plan = self._scheduler.schedule(now)
        if plan is not None:
            self._flights.append((plan, self._runner.launch(plan)))
        elif not self._flights:
            self._tell(self._scheduler.take_outputs())
            time.sleep(PAUSE)
            return
        if plan is None or len(self._flights) >= self._depth:
            oldest, pending = self._flights.popleft()
            self._tell(self._scheduler.commit(oldest, pending.result(), time.monotonic()))

    def _tell(self, outputs: tuple[Output, ...]) -> None:
        for output in outputs:
            if output.request_id in self._news:
                self._news[output.request_id].append(output)
