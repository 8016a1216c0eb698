"""Commands under way: each is a small program that goes on a little whenever the loop comes round."""

import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Protocol

from chorus_engine.core.commands import Command, Outcome, Status, Verb
from chorus_engine.core.load import Residency, SlotState, Tier

log = logging.getLogger(__name__)

MOST = 256  # under way at once
PATIENCE = 60.0  # seconds, for commands that say no time themselves
RETRY = 0.05  # seconds between two looks
BRINGS = 3  # times that an adapter is fetched for a slot which others take the room of

Done = Callable[[Outcome], None]
Steps = Generator[float, None, Outcome]  # yields in how many seconds it wants to go on


class Slots(Protocol):
    """`str | None`: None is yes, else why not."""

    def get(self, digest: str) -> Residency | None: ...
    def serial(self, digest: str) -> int | None: ...
    def is_hosted(self, digest: str) -> bool: ...
    def refusal(self, digest: str) -> str | None: ...
    def unpinnable(self, digest: str) -> str | None: ...
    def prefetch(self, digest: str, now: float, *, pin: bool) -> str | None: ...
    def pin(self, digest: str) -> str | None: ...
    def unpin(self, digest: str) -> None: ...
    def drain(self, digest: str) -> str | None: ...


class Host(Protocol):
    """`done(None)`: it is there, else done(why not). Called once, perhaps at once."""

    def prefetch(self, digest: str, done: Callable[[str | None], None]) -> None: ...
    def pin(self, digest: str, done: Callable[[str | None], None]) -> None: ...
    def unpin(self, digest: str) -> None: ...
    def drop(self, digest: str) -> bool: ...


@dataclass(slots=True, eq=False)
class Order:
    command: Command
    steps: Steps
    until: float
    due: float = 0.0  # when it goes on
    waiters: list[Done] = field(default_factory=list)


class Orders:
    """On the loop's thread. What serves requests goes first: an order that finds no room waits or is refused."""

    def __init__(self, slots: Slots, host: Host) -> None:
        self._slots = slots
        self._host = host
        self._now = 0.0
        self._orders: list[Order] = []

    def give(self, command: Command, now: float, done: Done) -> None:
        """`done(outcome)` is called once. A command like one under way shares its outcome."""
        if command.verb is Verb.UNPIN:
            self._unpin(command.digest)
            done(Outcome(Status.DONE))
            return
        same = (command.verb, command.digest, command.tier)
        for order in self._orders:
            if (order.command.verb, order.command.digest, order.command.tier) == same:
                order.until = max(order.until, _until(command, now))
                order.waiters.append(done)
                return
        if len(self._orders) >= MOST:
            done(Outcome(Status.REFUSED, f"{len(self._orders)} commands are under way, and at most {MOST} may be."))
            return
        self._orders.append(Order(command, self._steps(command), _until(command, now), waiters=[done]))
        self.advance(now)

    def advance(self, now: float) -> None:
        """Every order goes on, if it is time."""
        self._now = now
        for order in [order for order in self._orders if order.due <= now]:
            try:
                order.due = now + next(order.steps)
            except StopIteration as stop:
                self._end([order], stop.value)
            except Exception:
                log.exception("a command broke", extra={"command": order.command.verb, "digest": order.command.digest})
                self._end([order], Outcome(Status.FAILED, "the engine failed; its log says how."))
            else:
                if now >= order.until:
                    self._end([order], Outcome(Status.REFUSED, "its time was over before there was room."))

    def patience(self) -> float | None:
        """Seconds until an order wants to go on; None when there is none."""
        return max(0.0, min(order.due for order in self._orders) - self._now) if self._orders else None

    def _unpin(self, digest: str) -> None:
        pins = [order for order in self._orders if (order.command.verb, order.command.digest) == (Verb.PIN, digest)]
        self._end(pins, Outcome(Status.REFUSED, "it was unpinned meanwhile."))
        self._slots.unpin(digest)
        self._host.unpin(digest)

    def _end(self, orders: list[Order], outcome: Outcome) -> None:
        for order in orders:
            order.steps.close()
            self._orders.remove(order)
            for done in order.waiters:
                done(outcome)

    # ---------------------------------------------------------------- the programs

    def _steps(self, command: Command) -> Steps:
        if command.verb is Verb.DRAIN:
            return self._drain(command)
        if command.tier is Tier.GPU:
            return self._to_slot(command.digest, pin=command.verb is Verb.PIN)
        return self._to_host(command)

    def _to_host(self, command: Command) -> Steps:
        """Host memory says itself what it can take."""
        answers: list[str | None] = []
        act = self._host.pin if command.verb is Verb.PIN else self._host.prefetch
        act(command.digest, answers.append)
        refused = bool(answers)
        while not answers:
            yield RETRY
        if answers[0] is None:
            return Outcome(Status.DONE)
        return Outcome(Status.REFUSED if refused else Status.FAILED, answers[0])

    def _to_slot(self, digest: str, *, pin: bool) -> Steps:
        """Into host memory first, unless it is there; then into a slot, for a pin as soon as there is one."""
        brought = 0
        while True:
            slot = self._slots.get(digest)
            if slot is not None and slot.state is SlotState.READY:
                return _answer(self._slots.pin(digest) if pin else None)
            if slot is None and self._slots.is_hosted(digest):
                refusal, final = self._load(digest, pin=pin)
                if final:
                    return _answer(refusal)
            elif slot is None:
                if brought == BRINGS:
                    return _answer("host memory gave it up again and again")
                brought += 1
                outcome = yield from self._to_host(Command(Verb.PREFETCH, digest, Tier.HOST))
                if outcome.status is not Status.DONE:
                    return outcome
            yield RETRY  # it loads; or it drains, and comes anew
            if (refusal := self._slots.refusal(digest)) is not None:
                return _answer(refusal)

    def _load(self, digest: str, *, pin: bool) -> tuple[str | None, bool]:
        """Why it cannot begin, and whether that will not change."""
        if pin and (refusal := self._slots.unpinnable(digest)) is not None:
            return refusal, True
        refusal = self._slots.prefetch(digest, self._now, pin=pin)
        return refusal, refusal is not None and not pin

    def _drain(self, command: Command) -> Steps:
        digest = command.digest
        serial = self._slots.serial(digest)
        while serial is not None and self._slots.serial(digest) == serial:
            slot = self._slots.get(digest)
            if slot is not None and slot.state is SlotState.READY:
                if (refusal := self._slots.drain(digest)) is not None:
                    return _answer(refusal)
                continue
            yield RETRY
        if command.tier is Tier.HOST and not self._host.drop(digest):
            return _answer("host memory cannot forget it: it is pinned, or something needs it")
        return Outcome(Status.DONE)


def _until(command: Command, now: float) -> float:
    return now + PATIENCE if command.until is None else command.until


def _answer(refusal: str | None) -> Outcome:
    return Outcome(Status.DONE) if refusal is None else Outcome(Status.REFUSED, f"{refusal}.")
