"""A store's time as the placer, with real Redis, a real catalog, and engines that obey."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from chorus_adapter_store.catalog import (
    Catalog,
    Database,
    PinCatalog,
    PlacingCatalog,
    TermCatalog,
    UsageCatalog,
)
from chorus_adapter_store.errors import Unavailable
from chorus_adapter_store.placement import keys
from chorus_adapter_store.placement.fleet import Command, Result, Verb
from chorus_adapter_store.placement.knowledge import Knowledge
from chorus_adapter_store.placement.ledger import Ledger
from chorus_adapter_store.placement.lock import Lock
from chorus_adapter_store.placement.news import News
from chorus_adapter_store.placement.tenure import Tenure
from chorus_adapter_store.placement.view import View
from chorus_adapter_store.placement.wire import Wire
from chorus_adapter_store.telemetry.metrics import Metrics
from chorus_adapter_store.values import Pin, Tier, Usage
from tests.adapter_store.catalog.test_catalog import MINE, draft, publish
from tests.adapter_store.placement.announced import AnnouncedEngine, ask
from tests.adapter_store.placement.fleet_model import ModelEngine
from tests.adapter_store.support import BASE

ONE, TWO = draft("one").digest, draft("two").digest


@dataclass
class Fleet:
    """A placer that leads, and two engines of the base."""

    redis: Redis
    database: Database
    lock: Lock
    news: News
    metrics: Metrics
    tenure: Tenure
    engines: list[AnnouncedEngine]

    async def tick(self, times: int = 1) -> list[Command]:
        """Decide and obey."""
        said = []
        for _ in range(times):
            for engine in self.engines:
                await engine.announce()
            await self.tenure.tick()
            said += [command for engine in self.engines for command in await engine.obey()]
        return said

    def counted(self, registry: CollectorRegistry, verb: Verb, status: str) -> float:
        return registry.get_sample_value("placer_commands_total", {"command": verb.value, "status": status}) or 0.0


Lead = Callable[[], Awaitable[Fleet]]


@pytest.fixture
async def lead(redis: Redis, tmp_path: Path) -> AsyncIterator[Lead]:
    """Begins a tenure over a catalog with adapter "tone", generations 1 and 2."""
    database = await Database.open(f"sqlite+aiosqlite:///{tmp_path}/catalog.db")
    catalog = Catalog(database)
    for content in ("one", "two"):
        await publish(catalog, content)
    engines = [AnnouncedEngine(redis, ModelEngine(name), BASE.digest) for name in "ab"]

    async def begin() -> Fleet:
        lock, placing, terms = Lock(redis, "test"), PlacingCatalog(database), TermCatalog(database)
        await redis.delete(keys.LOCK)
        assert await lock.acquire()
        news, metrics = News(redis, placing), Metrics()
        tenure = Tenure(
            await terms.take(),
            lock=lock,
            terms=terms,
            view=View(redis),
            wire=Wire(redis),
            news=news,
            knowledge=Knowledge(placing, PinCatalog(database)),
            usage=UsageCatalog(database),
            metrics=metrics,
        )
        return Fleet(redis, database, lock, news, metrics, tenure, engines)

    yield begin
    await database.close()


@pytest.fixture
async def fleet(lead: Lead) -> Fleet:
    return await lead()


async def test_demand_brings_an_adapter_in_and_more_of_it_spreads_it(redis: Redis, fleet: Fleet) -> None:
    await ask(redis, BASE.digest, ONE, in_flight=1)
    assert await fleet.tick(3) == [Command("a", Verb.PREFETCH, ONE, Tier.GPU)]
    await ask(redis, BASE.digest, ONE, in_flight=9)
    assert await fleet.tick(3) == [Command("b", Verb.PREFETCH, ONE, Tier.GPU)]
    registry = fleet.metrics.registry
    assert fleet.counted(registry, Verb.PREFETCH, "sent") == fleet.counted(registry, Verb.PREFETCH, "done") == 2


async def test_what_the_catalog_does_not_have_is_not_placed(redis: Redis, fleet: Fleet) -> None:
    await ask(redis, BASE.digest, "0" * 64, in_flight=5)
    assert await fleet.tick(2) == []


async def test_pins_are_sent_shown_and_taken_back(redis: Redis, fleet: Fleet) -> None:
    pins = PinCatalog(fleet.database)
    await pins.set(Pin(MINE, "2", Tier.HOST))
    assert await fleet.tick(2) == [Command(name, Verb.PIN, TWO, Tier.HOST) for name in "ab"]
    shown = await redis.hgetall(keys.pins(BASE.digest))
    assert {digest: json.loads(text) for digest, text in shown.items()} == {TWO: {"tier": "host", "engines": 0}}
    await pins.remove(MINE)
    fleet.tenure._knowledge.forget()
    assert await fleet.tick(2) == [Command(name, Verb.UNPIN, TWO, Tier.HOST) for name in "ab"]
    assert await redis.hgetall(keys.pins(BASE.digest)) == {}


async def test_a_pin_that_no_engine_has_room_for_is_complained_of_once(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    pins = PinCatalog(fleet.database)
    await pins.set(Pin(MINE, "2", Tier.GPU))  # as it is kept while no engine is there
    for engine in fleet.engines:
        engine.engine.pool = 2
    assert await fleet.tick(3) == []
    (line,) = [record for record in caplog.records if "pin" in record.message]
    assert line.message.startswith("a pin wants more engines than can hold it beside other pins")
    assert (line.__dict__["digest"], line.__dict__["engines"]) == (TWO, "all")


async def test_what_was_deleted_leaves_the_engines(fleet: Fleet) -> None:
    for engine in fleet.engines:
        engine.engine.host = {ONE: 2, TWO: 2}
    await Catalog(fleet.database).delete(MINE, 1, 5.0)
    assert await fleet.tick(2) == [Command(name, Verb.DRAIN, ONE, Tier.HOST) for name in "ab"]
    assert [list(engine.engine.host) for engine in fleet.engines] == [[TWO], [TWO]]


@pytest.mark.parametrize("known", [False, True])
async def test_while_the_database_is_away_nothing_is_drained_or_unpinned(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    await PinCatalog(fleet.database).set(Pin(MINE, "1", Tier.HOST))
    for engine in fleet.engines:
        engine.engine.host, engine.engine.pinned = {ONE: 2, TWO: 2}, {ONE: Tier.HOST}
    if known:
        assert await fleet.tick() == []

    async def away(*_: object) -> None:
        raise Unavailable("no database")

    for catalog, method in ((PinCatalog, "all"), (PlacingCatalog, "files"), (UsageCatalog, "replace")):
        monkeypatch.setattr(catalog, method, away)
    fleet.tenure._knowledge.forget()
    assert await fleet.tick(3) == []


async def test_a_new_generation_is_warm_where_the_one_before_was(redis: Redis, fleet: Fleet) -> None:
    fleet.engines[1].engine.gpu = {TWO: 2}
    await fleet.tick()
    generation, _ = await publish(Catalog(fleet.database), "three")
    await redis.xadd("chorus:adapters", {"event": "published", "tenant": "acme", "name": "tone"})
    await anext(fleet.news.follow(0.0))
    assert await fleet.tick(2) == [Command("b", Verb.PREFETCH, generation.digest, Tier.GPU)]


async def test_what_an_engine_refuses_is_not_said_again_at_once(redis: Redis, fleet: Fleet) -> None:
    fleet.engines[0].refusing = "no room"
    await PinCatalog(fleet.database).set(Pin(MINE, "1", Tier.GPU, 1))
    said = await fleet.tick(4)
    assert said == [Command("a", Verb.PIN, ONE, Tier.GPU), Command("b", Verb.PIN, ONE, Tier.GPU)]
    assert fleet.counted(fleet.metrics.registry, Verb.PIN, "refused") == 1


def test_commands_to_two_engines_may_be_named_alike() -> None:
    ledger = Ledger()
    first, second = (Command(name, Verb.PREFETCH, ONE, Tier.GPU) for name in "ab")
    ledger.send("1-0", first, 0.0)
    ledger.send("1-0", second, 0.0)
    assert ledger.end(Result("b", "1-0", "done"), 1.0) == second
    assert (ledger.pending, ledger.resting) == (frozenset({first}), frozenset({second}))
    assert ledger.end(Result("b", "1-0", "done"), 1.0) is None
    assert ledger.expire(100.0) == [first]
    assert (ledger.pending, ledger.resting) == (frozenset(), frozenset())


async def test_a_store_that_lost_the_lock_says_nothing(redis: Redis, fleet: Fleet) -> None:
    await ask(redis, BASE.digest, ONE, in_flight=1)
    await redis.delete(keys.LOCK)
    assert await Lock(redis, "another").acquire()
    assert await fleet.tick(2) == []


async def test_the_later_placer_is_obeyed(redis: Redis, lead: Lead) -> None:
    former = await lead()
    await ask(redis, BASE.digest, ONE, in_flight=9)
    later = await lead()
    await later.tick(2)
    assert [engine.terms for engine in later.engines] == [[2], [2]]
    wire, late = Wire(redis), Command("a", Verb.PREFETCH, TWO, Tier.HOST)
    await wire.send([late], term=1, now=0.0)  # as if it had hung between asking for the lock and this
    assert await former.engines[0].obey() == [late]
    assert TWO not in former.engines[0].engine.host


async def test_terms_grow_past_what_engines_have_seen(redis: Redis, fleet: Fleet) -> None:
    """As after a database that was put back to an earlier state."""
    fleet.engines[0].term = 40
    await ask(redis, BASE.digest, ONE, in_flight=1)
    await fleet.tick(2)
    assert fleet.engines[0].terms == [41]


async def test_a_new_engine_is_given_what_was_used_before_redis_forgot(redis: Redis, fleet: Fleet) -> None:
    await UsageCatalog(fleet.database).replace(BASE.digest, [Usage(BASE.digest, TWO, 3.0, 1.0)])
    seconds, _ = await redis.time()
    fleet.engines[1].engine.started_at = float(seconds)
    assert await fleet.tick(2) == [Command("b", Verb.PREFETCH, TWO, Tier.HOST)]


async def test_what_is_used_is_noted_for_later(redis: Redis, lead: Lead, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chorus_adapter_store.placement.tenure._SAVE_SECONDS", 0.0)
    fleet = await lead()
    await ask(redis, BASE.digest, ONE, in_flight=1)
    await fleet.tick(3)
    (used,) = await UsageCatalog(fleet.database).read()
    assert (used.base_digest, used.digest) == (BASE.digest, ONE)
    assert used.score > 0


async def test_commands_to_an_engine_that_is_gone_are_not_kept_for_ever(redis: Redis) -> None:
    await Wire(redis).send([Command("gone", Verb.PREFETCH, ONE, Tier.HOST)], term=1, now=0.0)
    assert 0 < await redis.ttl(keys.commands("gone")) <= 60
