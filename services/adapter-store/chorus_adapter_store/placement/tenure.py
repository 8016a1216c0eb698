"""One store's time as the placer: look, decide, say. What it remembers goes with it."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress

from chorus_adapter_store.catalog import TermCatalog, UsageCatalog
from chorus_adapter_store.errors import Unavailable
from chorus_adapter_store.placement.fleet import Command, Demand, Engine
from chorus_adapter_store.placement.knowledge import Knowledge
from chorus_adapter_store.placement.ledger import Ledger
from chorus_adapter_store.placement.lock import Lock
from chorus_adapter_store.placement.news import News
from chorus_adapter_store.placement.plan import plan
from chorus_adapter_store.placement.situation import Copies, PinWish, Situation
from chorus_adapter_store.placement.usage import UsageBook
from chorus_adapter_store.placement.view import Sight, View
from chorus_adapter_store.placement.wire import Wire
from chorus_adapter_store.telemetry.metrics import Metrics

_SAVE_SECONDS = 30.0  # between two notes of what is used
_SHOW_SECONDS = 5.0  # after which pins are shown again, should Redis have lost them
_log = logging.getLogger(__name__)


class Tenure:
    def __init__(
        self,
        term: int,
        *,
        lock: Lock,
        terms: TermCatalog,
        view: View,
        wire: Wire,
        news: News,
        knowledge: Knowledge,
        usage: UsageCatalog,
        metrics: Metrics,
    ) -> None:
        self._term = term
        self._lock = lock
        self._terms = terms
        self._view = view
        self._wire = wire
        self._news = news
        self._knowledge = knowledge
        self._usage = usage
        self._metrics = metrics
        self._ledger = Ledger()
        self._book: UsageBook | None = None  # until it is read
        self._copies: Mapping[str, Mapping[str, Copies]] = {}  # by base, then digest
        self._short: dict[str, set[str]] = {}  # by base: digests whose pins want more engines than have room
        self._shown: dict[str, tuple[tuple[PinWish, ...], float]] = {}  # by base: pins, and when
        self._seen_at = 0.0
        self._saved_at = 0.0

    async def tick(self) -> None:
        """Raises RedisError or OSError when Redis is away; then nothing, or a part of it, was said."""
        sight = await self._view.engines()
        demand = await self._view.demand({each.base_digest for each in sight.engines}, sight.now)
        await self._hear(sight)
        await self._learn(sight, demand)
        if not self._knowledge.ready:
            return
        said: list[Command] = []
        copies = {}
        for base, engines in _by_base(sight.engines).items():
            decided = plan(self._situation(base, engines, demand[base], sight.now))
            copies[base] = decided.copies
            said += decided.commands
            self._complain(base, decided.short)
        await self._say(said, sight)
        self._copies = copies
        await self._show_pins(sight)

    async def _hear(self, sight: Sight) -> None:
        for result in await self._wire.results(each.engine_id for each in sight.engines):
            command = self._ledger.end(result, sight.now)
            if command is not None:
                self._metrics.placer_commands.labels(command.verb.value, result.status).inc()
                if result.status != "done":
                    details = {"engine": command.engine_id, "digest": command.digest, "reason": result.reason}
                    _log.info("%s %s", command.verb.value, result.status, extra=details)
        for command in self._ledger.expire(sight.now):
            self._metrics.placer_commands.labels(command.verb.value, "lost").inc()

    async def _learn(self, sight: Sight, demand: Mapping[str, Mapping[str, Demand]]) -> None:
        book = await self._note_usage(demand, sight.now)
        digests = {digest for engine in sight.engines for digest in engine.held}
        digests.update(digest for each in demand.values() for digest in each)
        digests.update(each.digest for each in self._news.warmings(sight.now))
        digests.update(each.digest for base in book.bases for each in book.top(base, sight.now))
        await self._knowledge.learn(digests, sight.now)

    async def _note_usage(self, demand: Mapping[str, Mapping[str, Demand]], now: float) -> UsageBook:
        """Read once, and saved now and then: which adapters a new engine begins with is worth no more."""
        book = self._book or UsageBook()
        seconds = now - self._seen_at if self._seen_at else 0.0
        with suppress(Unavailable):
            if self._book is None:
                book, self._saved_at = UsageBook(await self._usage.read()), now
            self._book = book
            for base, each in demand.items():
                book.add(base, each, seconds, now)
            self._seen_at = now
            if now - self._saved_at >= _SAVE_SECONDS:
                self._saved_at = now
                for base in book.bases:
                    await self._usage.replace(base, book.top(base, now))
        return book

    def _situation(self, base: str, engines: tuple[Engine, ...], demand: Mapping[str, Demand], now: float) -> Situation:
        model = engines[0].model
        book = self._book or UsageBook()
        held = {digest for engine in engines for digest in engine.held}
        return Situation(
            now=now,
            engines=engines,
            demand=demand,
            files=self._knowledge.usable(model),
            gone=self._knowledge.gone(model, held),
            pins=self._knowledge.pins(model),
            warmings=self._news.warmings(now),
            recent=tuple(each.digest for each in book.top(base, now)),
            pending=self._ledger.pending,
            resting=self._ledger.resting,
            copies=self._copies.get(base, {}),
        )

    async def _say(self, commands: Collection[Command], sight: Sight) -> None:
        """Only while the lock is this store's; an engine that hears two placers obeys the later."""
        if not commands or not await self._lock.held():
            return
        highest = max(each.term for each in sight.engines)
        if highest > self._term:  # of a database that was put back to an earlier state
            self._term = await self._terms.take(highest)
            self._metrics.placer_term.set(self._term)
            if not await self._lock.held():
                return
        sent = list(commands)
        for command_id, command in zip(await self._wire.send(sent, self._term, sight.now), sent, strict=True):
            self._ledger.send(command_id, command, sight.now)
            self._metrics.placer_commands.labels(command.verb.value, "sent").inc()

    def _complain(self, base: str, short: Sequence[PinWish]) -> None:
        """Once a pin: it was set while the engines that there are now were not asked."""
        before, self._short[base] = self._short.get(base, set()), {each.file.digest for each in short}
        for wish in short:
            if wish.file.digest not in before:
                details = {"digest": wish.file.digest, "tier": wish.tier.value, "engines": wish.engines or "all"}
                _log.warning(
                    "a pin wants more engines than can hold it beside other pins (half of their memory for adapters); "
                    "pin it on fewer, or remove another pin",
                    extra=details,
                )

    async def _show_pins(self, sight: Sight) -> None:
        for base, engines in _by_base(sight.engines).items():
            pins = self._knowledge.pins(engines[0].model)
            shown, at = self._shown.get(base, ((), 0.0))
            if pins != shown or sight.now - at >= _SHOW_SECONDS:
                await self._wire.show_pins(base, pins)
                self._shown[base] = pins, sight.now


def _by_base(engines: Iterable[Engine]) -> dict[str, tuple[Engine, ...]]:
    """Those that serve the same weights under the same name, which is the first engine's."""
    found: dict[str, tuple[Engine, ...]] = {}
    for each in engines:
        found[each.base_digest] = (*found.get(each.base_digest, ()), each)
    return found
