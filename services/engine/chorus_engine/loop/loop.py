"""The engine's loop: one thread, one step after another.

On CUDA `depth` is 2: step n+1 is scheduled and launched while the device still computes step n, so that the device
never waits for the host.

A request, an adapter or a stranger's mistake can end requests, never the loop. An exception inside a step is another
matter: rows, block tables and the adapter pool may then hold anything, and nobody could vouch for the next token. So
the loop logs it, ends every request with an internal error, takes no more, and calls `broken`, whose part is to end the
process, so that its supervisor starts a sound one.
"""

import logging
import queue
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from chorus_engine.core.commands import Command, Outcome, Status
from chorus_engine.core.errors import AdapterError, AdapterUnavailable, EngineError
from chorus_engine.core.load import Load
from chorus_engine.core.plan import StepPlan
from chorus_engine.core.request import FinishReason, Output, Request
from chorus_engine.core.spec import AdapterFootprint
from chorus_engine.loop.inventory import Inventory
from chorus_engine.loop.orders import Orders
from chorus_engine.loop.parts import News, Observer, Pending, Runner, Scheduler, Supply
from chorus_engine.loop.progress import Progress, Pulse

log = logging.getLogger(__name__)
T = TypeVar("T")

# Waiting requests ripen with time alone, so a loop that has any looks again this often, in seconds.
RECHECK_INTERVAL = 0.25


class EngineLoop:
    """`submit`, `cancel`, the `adapter_` methods and `ask` may be called from any thread; none waits.

    `publish(news)` is called on the loop's thread after each step and whenever there is news.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        runner: Runner,
        supply: Supply,
        *,
        publish: Callable[[News], None],
        broken: Callable[[], None],
        observer: Observer,
        depth: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scheduler = scheduler
        self._runner = runner
        self._supply = supply
        self._publish_news = publish
        self._broken = broken
        self._observer = observer
        self._depth = depth
        self._flights: deque[_Flight] = deque()
        self._committed = 0.0  # when the last step was taken in
        self._clock = clock
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._progress = Progress()
        self._inventory = Inventory(scheduler.slots, supply)
        self._orders = Orders(scheduler.slots, supply)
        self._loading: dict[int, float] = {}  # slot -> when its load was launched
        self._live: set[str] = set()
        self._told: Load | None = None  # the load last published
        self._untold: tuple[Output, ...] = ()  # of a step after which the device waited for the next one
        self._running = True
        self._sound = True  # false once a step has failed
        self._thread = threading.Thread(target=self._run, name="engine-loop", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """After the step in flight. What still lives is left without an end."""
        self._inbox.put(self._leave)
        self._thread.join(timeout)

    # ---------------------------------------------------------------- from other threads

    def submit(self, request: Request) -> None:
        """An error ends the request with an output of its own."""
        self._inbox.put(partial(self._add, request))

    def refuse(self, request_id: str, error: EngineError) -> None:
        """Ends with an error what was never submitted."""
        self._inbox.put(partial(self._publish, (Output(request_id, finish=FinishReason.ERROR, error=error),)))

    def cancel(self, request_id: str) -> None:
        """Takes effect before the next step. Unknown requests are ignored, since an end and a cancel may cross."""
        self._inbox.put(partial(self._cancel, request_id))

    def adapter_room(self, footprint: AdapterFootprint, size: int) -> Future[int]:
        """Where in host memory an adapter of `size` bytes goes, as soon as there is room; or AdapterError."""
        future: Future[int] = Future()
        self._inbox.put(partial(self._find_room, footprint, size, future))
        return future

    def adapter_arrived(self, digest: str) -> None:
        """Its bytes are where `adapter_room` said."""
        self._inbox.put(partial(self._keep, digest))

    def adapter_failed(self, digest: str, error: AdapterError) -> None:
        """Nothing writes where `adapter_room` said."""
        self._inbox.put(partial(self._give_up, digest, error))

    def command(self, command: Command, done: Callable[[Outcome], None]) -> None:
        """`done(outcome)` is called on the loop's thread, once."""
        self._inbox.put(partial(self._order, command, done))

    def ask(self, question: Callable[[], T]) -> Future[T]:
        """The answer to a question about what the loop owns, put between two steps."""
        future: Future[T] = Future()
        self._inbox.put(partial(_answer, question, future))
        return future

    def pulse(self) -> Pulse:
        """Whether steps end; may be asked while they do not."""
        return self._progress.pulse()

    def stack(self) -> str:
        """Where the loop's thread is."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        return "".join(traceback.format_stack(frame)) if frame is not None else ""

    # ---------------------------------------------------------------- on the loop's thread

    def _run(self) -> None:
        try:
            busy = False
            while self._running:
                self._take_in(wait=not busy)
                busy = self._advance()
            self._publish(())
        except Exception:
            log.exception("a step failed; the engine stops")
            self._sound = False
            self._publish(())
            for request_id in tuple(self._live):
                self._publish((_internal_error(request_id),))
            self._broken()
            while self._running:  # requests that come before the process ends get the same answer
                self._inbox.get()()

    def _advance(self) -> bool:
        """Launches a step, and takes in the oldest one when enough are in flight; False when there was neither."""
        for digest in self._scheduler.wanted_adapters():
            self._supply.want(digest)
        self._supply.pump()
        began = self._clock()
        self._orders.advance(began)
        plan = self._scheduler.schedule(began)
        if plan is not None:
            self._loading.update((load.slot, began) for load in plan.load)
            self._flights.append(_Flight(plan, self._runner.launch(plan), began))
            if self._untold:
                self._publish(())
        elif not self._flights:
            self._publish(self._scheduler.take_outputs())
            return False
        if plan is None or len(self._flights) >= self._depth:
            self._commit(self._flights.popleft())
        return True

    def _commit(self, flight: "_Flight") -> None:
        result = flight.pending.result()
        now = self._clock()
        outputs = self._scheduler.commit(flight.plan, result, now)
        if self._depth > 1 and not self._flights:
            self._untold += outputs  # the device waits: telling them, and whoever hears them, would keep it waiting
        else:
            self._publish(outputs)
        seconds = now - max(flight.began, self._committed)
        self._committed = now
        self._progress.step(seconds)
        self._observer.step(flight.plan, seconds)
        for slot in result.loaded:
            self._observer.adapter_loaded(now - self._loading.pop(slot))

    def _take_in(self, *, wait: bool) -> None:
        """Do what came in; when there is nothing else to do, wait for it."""
        try:
            if wait:
                load = self._scheduler.load()
                self._progress.rests(running=load.running > 0)
                act = self._inbox.get(timeout=self._patience(load))
                self._progress.wakes()
                act()
            while True:
                self._inbox.get_nowait()()
        except queue.Empty:
            self._progress.wakes()

    def _patience(self, load: Load) -> float | None:
        """Seconds until something happens by itself; None is never."""
        deadline = self._scheduler.next_deadline()
        waits = (
            RECHECK_INTERVAL if load.waiting else None,
            None if deadline is None else max(0.0, deadline - self._clock()),
            self._orders.patience(),
        )
        return min((seconds for seconds in waits if seconds is not None), default=None)

    def _publish(self, outputs: tuple[Output, ...]) -> None:
        outputs, self._untold = self._untold + outputs, ()
        load = self._scheduler.load()
        changes = self._inventory.take_changes()
        if outputs or changes or load != self._told:
            self._live.difference_update(output.request_id for output in outputs if output.finish is not None)
            self._told = load
            self._publish_news(News(outputs, load, changes, self._inventory.memory))

    def _add(self, request: Request) -> None:
        if not self._sound:
            self._publish((_internal_error(request.id),))
            return
        try:
            self._scheduler.add(request)
        except EngineError as error:
            self._publish((Output(request.id, finish=FinishReason.ERROR, error=error),))
        else:
            self._live.add(request.id)

    def _cancel(self, request_id: str) -> None:
        if self._sound:
            self._scheduler.cancel(request_id)

    def _find_room(self, footprint: AdapterFootprint, size: int, future: Future[int]) -> None:
        def answer(found: int | AdapterError) -> None:
            if future.set_running_or_notify_cancel():
                if isinstance(found, AdapterError):
                    future.set_exception(found)
                else:
                    future.set_result(found)

        if self._sound:
            self._supply.room(footprint, size, answer)
        else:
            answer(AdapterUnavailable("the engine restarts"))

    def _keep(self, digest: str) -> None:
        if self._sound:
            self._scheduler.adapter_fetched(self._supply.arrived(digest))

    def _give_up(self, digest: str, error: AdapterError) -> None:
        if not self._sound:
            return
        self._supply.failed(digest, error)
        self._scheduler.adapter_failed(digest, error)

    def _order(self, command: Command, done: Callable[[Outcome], None]) -> None:
        if self._sound:
            self._orders.give(command, self._clock(), done)
        else:
            done(Outcome(Status.FAILED, "a step failed and the engine restarts."))

    def _leave(self) -> None:
        self._running = False


@dataclass(frozen=True, slots=True)
class _Flight:
    """A step launched and not committed."""

    plan: StepPlan
    pending: Pending
    began: float


def _internal_error(request_id: str) -> Output:
    error = RuntimeError("a step failed and the engine restarts")
    return Output(request_id, finish=FinishReason.ERROR, error=error)


def _answer(question: Callable[[], T], future: "Future[T]") -> None:
    if future.set_running_or_notify_cancel():
        try:
            future.set_result(question())
        except Exception as error:
            future.set_exception(error)
