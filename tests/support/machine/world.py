"""Two engines' hearts, two gateways' claims and one placer on a real Redis, and what may happen to them."""

import asyncio
import hashlib
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

from redis.asyncio import Redis

from chorus_adapter_store.catalog import PinCatalog, PlacingCatalog, TermCatalog, UsageCatalog
from chorus_adapter_store.placement.knowledge import Knowledge
from chorus_adapter_store.placement.lock import Lock
from chorus_adapter_store.placement.news import News
from chorus_adapter_store.placement.tenure import Tenure
from chorus_adapter_store.placement.view import View
from chorus_adapter_store.placement.wire import Wire
from chorus_adapter_store.telemetry.metrics import Metrics
from chorus_adapter_store.values import Tier
from chorus_engine.core.errors import EngineError
from chorus_engine.core.request import Band
from chorus_engine.core.spec import AdapterFootprint
from chorus_gateway.routing.claims import RedisClaims
from tests.engine.scheduler.drive import request
from tests.support.machine.catalog import MachineCatalog
from tests.support.machine.heart import Heart

NAMES, ENGINES = 40, 2
RANKS = (4, 8, 16, 32, 64)
LIVE = 40  # requests of an engine at once
# How often each happens, of a hundred thousand.
WEIGHTS = {
    "ask": 30_000,
    "turn": 45_000,
    "fetch": 18_000,
    "cancel": 3_000,
    "publish": 1_400,
    "delete": 300,
    "pin": 250,
    "unpin": 250,
    "place": 400,
    "beat": 1_350,
    "usurp": 20,
    "restart": 20,
    "flush": 10,
}
PINS = 3
ROUNDS = 8  # of the placer at least, once nobody asks
SETTLED_SECONDS = 120.0  # a flushed Redis hears of engines within 2 s, and of a lost command's loss after 35 s
ANSWERED_SECONDS = 60.0


class World:
    """Made inside the event loop. One seed, one run, but for what Redis and its tasks take their time for."""

    def __init__(self, redis_url: str, redis: Redis, blocking: Redis, seed: int, policy: str = "demand") -> None:
        """`blocking`: for reads that wait."""
        self._url, self._redis, self._blocking, self._policy = redis_url, redis, blocking, policy
        self._draw = random.Random(seed)
        self._serial = 0
        self.catalog = MachineCatalog()
        self.done: Counter[str] = Counter()
        self.answered = self.cut = self.claims_won = self.claims_lost = self.refused_terms = 0
        self._claims = [RedisClaims(redis), RedisClaims(redis)]
        self._metrics = Metrics()
        self.view = View(redis)
        self._kinds = list(WEIGHTS)
        self._weights = list(WEIGHTS.values())
        self._acts: dict[str, Callable[[], Awaitable[None] | None]] = {
            kind: getattr(self, f"_{kind}") for kind in self._kinds
        }
        self.hearts: list[Heart] = []
        self._named = 0

    async def start(self) -> None:
        for _ in range(NAMES // 2):
            self._publish()
        self.hearts = [self._new_heart() for _ in range(ENGINES)]
        self._lock, self._tenure, self._term = await self._enthrone()

    async def stop(self) -> None:
        for heart in self.hearts:
            await heart.kill()
        for book in self._claims:
            await book.aclose()

    async def run(self, operations: int) -> None:
        """As many, drawn as often as their weights say."""
        await self.perform(self._draw.choices(self._kinds, self._weights, k=operations))

    async def perform(self, kinds: Iterable[str]) -> None:
        """Laws hold after every operation; which one it was is in the error."""
        for number, kind in enumerate(kinds):
            try:
                if (waits := self._acts[kind]()) is not None:
                    await waits
            except AssertionError as error:
                raise AssertionError(f"operation {number}, {kind}: {error}") from error
            self.done[kind] += 1

    # ---------------------------------------------------------------- requests

    def _ask(self) -> Awaitable[None] | None:
        digest = self._draw.choice(self._popular())
        holder = self._holder(digest)
        if holder is None:
            return self._ask_claimed(digest)
        self._submit(holder, digest)
        return None

    async def _ask_claimed(self, digest: str) -> None:
        """Both gateways miss at once: they agree."""
        ids = [heart.name for heart in self.hearts]
        wanted = self._draw.sample(ids, 2)
        claims = await asyncio.gather(
            *(book.claim(digest, want, ids) for book, want in zip(self._claims, wanted, strict=True))
        )
        assert len({claim.engine for claim in claims}) == 1, "two engines were told to load one adapter"
        assert sum(claim.won for claim in claims) <= 1
        self.claims_won += sum(claim.won for claim in claims)
        self.claims_lost += sum(not claim.won for claim in claims)
        (heart,) = (heart for heart in self.hearts if heart.name == claims[0].engine)
        self._submit(heart, digest)

    def _submit(self, heart: Heart, digest: str) -> None:
        if len(heart.live) >= LIVE:
            return
        self._serial += 1
        lifetime = self._draw.choice([None, None, 0.5, 3.0])
        asked = request(
            f"r{self._serial}",
            self._draw.randint(1, 12),
            self._draw.randint(1, 8),
            adapter=digest if self._draw.random() < 0.9 else None,
            band=self._draw.choice(list(Band)),
            counter=self._draw.randint(0, 2),
            arrival=heart.now,
            deadline=None if lifetime is None else heart.now + lifetime,
        )
        try:
            heart.submit(asked)
        except EngineError:
            del heart.requests[asked.id], heart.tokens[asked.id]

    def _popular(self) -> list[str]:
        usable = self.catalog.usable
        return usable[: max(1, len(usable) // 4)] if self._draw.random() < 0.7 else usable

    def _holder(self, digest: str) -> Heart | None:
        """As routers do: a slot before host memory, the less busy first."""
        held = [(heart, found) for heart in self.hearts if (found := heart.holdings.get(digest)) is not None]
        if not held:
            return None
        return min(held, key=lambda each: (each[1].tier != "gpu", len(each[0].requests)))[0]

    def _turn(self) -> None:
        heart = self._any()
        for _ in range(self._draw.randint(1, 3)):
            heart.turn(self._draw.choice([0.005, 0.01, 0.05]))
        heart.check()
        whole, cut = heart.reap()
        self.answered += whole
        self.cut += cut

    def _fetch(self) -> None:
        heart = self._any()
        if heart.fetches:
            heart.advance_fetch(self._draw.choice(list(heart.fetches)), good=self._draw.random() < 0.95)
            heart.check()

    def _cancel(self) -> None:
        heart = self._any()
        if live := heart.live:
            heart.cancel(self._draw.choice(live))

    # ---------------------------------------------------------------- adapters

    def _publish(self) -> Awaitable[None] | None:
        names = list(self.catalog.generations)
        if len(names) < NAMES // 2 or (len(names) < NAMES and self._draw.random() < 0.5):
            self._named += 1
            name = f"n{self._named}"
        else:
            name = self._draw.choice(names)
            if len(self.catalog.generations[name]) > 4:
                del self.catalog.generations[name][0]
        self._serial += 1
        digest = hashlib.sha256(f"{name} {self._serial}".encode()).hexdigest()
        rank = self._draw.choice(RANKS)
        ranks = tuple((layer, path, rank) for layer in range(2) for path in ("q", "v"))
        self.catalog.publish(name, AdapterFootprint(digest, ranks, bytes=rank * 64))
        fields: dict[Any, Any] = {"event": "published", "tenant": "t", "name": name, "alias": "latest"}
        return self._tell(fields) if self.hearts else None

    async def _tell(self, fields: dict[Any, Any]) -> None:
        await self._redis.xadd("chorus:adapters", fields, maxlen=1000)
        self._knowledge.forget()

    def _delete(self) -> None:
        if len(self.catalog.generations) > NAMES // 4:
            self.catalog.delete(self._draw.choice(list(self.catalog.generations)))

    def _pin(self) -> None:
        if len(self.catalog.pinned) < PINS:
            name = self._draw.choice(list(self.catalog.generations))
            self.catalog.pinned[name] = self._draw.choice([Tier.GPU, Tier.HOST])

    def _unpin(self) -> None:
        if self.catalog.pinned:
            del self.catalog.pinned[self._draw.choice(sorted(self.catalog.pinned))]

    # ---------------------------------------------------------------- the placer

    async def _enthrone(self) -> tuple[Lock, Tenure, int]:
        """A store takes the lock, whoever had it."""
        await self._redis.delete("chorus:placer")
        lock = Lock(self._redis, "store")
        assert await lock.acquire()
        term = await self.catalog.take()
        placing = cast(PlacingCatalog, self.catalog)
        self._knowledge = Knowledge(placing, cast(PinCatalog, self.catalog))
        tenure = Tenure(
            term,
            lock=lock,
            terms=cast(TermCatalog, self.catalog),
            view=self.view,
            wire=Wire(self._redis),
            news=News(self._blocking, placing),
            knowledge=self._knowledge,
            usage=cast(UsageCatalog, self.catalog),
            metrics=self._metrics,
        )
        return lock, tenure, term

    async def _place(self) -> None:
        if not await self._lock.renew():  # it lapsed while nothing was placed, or Redis forgot it
            self._lock, self._tenure, self._term = await self._enthrone()
        await self._tenure.tick()

    async def _usurp(self) -> None:
        """Another store leads; the one before does not know it and speaks all the same."""
        before = self._term
        self._lock, self._tenure, self._term = await self._enthrone()
        assert self._term > before
        await self._tenure.tick()
        heart = self._any()
        # The engine has heard the new term once it obeyed a command of it.
        for term in (self._term, before):
            await self._command(heart, term)

    async def _command(self, heart: Heart, term: int) -> None:
        fields: dict[Any, Any] = {"command": "unpin", "digest": "0" * 64, "tier": "host", "term": str(term)}
        sent = await self._redis.xadd(f"chorus:engine:{{{heart.name}}}:commands", fields)
        until = time.monotonic() + ANSWERED_SECONDS
        while time.monotonic() < until:
            results: Any = await self._redis.xrevrange(f"chorus:engine:{{{heart.name}}}:results", count=20)
            found = next((each for _, each in results if each["command_id"] == sent), None)
            if found is not None:
                assert (found["status"] == "refused") == (term < self._term), f"a command of term {term}: {found}"
                self.refused_terms += term < self._term
                return
            await asyncio.sleep(0.01)
        raise AssertionError("a command was never answered")

    # ---------------------------------------------------------------- trouble

    async def _beat(self) -> None:
        """Tasks that talk to Redis go on."""
        await asyncio.sleep(0.002)

    async def _restart(self) -> None:
        """An engine dies with all that it had, and a new one comes."""
        at = self._draw.randrange(len(self.hearts))
        await self.hearts[at].kill()
        self.hearts[at] = self._new_heart()

    async def _flush(self) -> None:
        await self._redis.flushall()

    # ---------------------------------------------------------------- the end

    async def settle(self) -> None:
        """Nobody asks any more: every request, fetch and command ends, Redis says what is so, and nothing is left."""
        self._knowledge.forget()  # else what was unpinned a moment ago is known to the placer after a second only
        until, rounds = time.monotonic() + SETTLED_SECONDS, 0
        while (strange := await self._strange()) or rounds < ROUNDS:
            assert time.monotonic() < until, strange
            await self._rest()
            await self._place()
            await asyncio.sleep(0.02)
            await self._rest()
            rounds += 1

    async def _rest(self) -> None:
        for _ in range(4000):
            busy = [self._go_on(heart) for heart in self.hearts]
            await asyncio.sleep(0)
            if not any(busy):
                return
        raise AssertionError("work without an end")

    def _go_on(self, heart: Heart) -> bool:
        busy = heart.turn(0.05)
        for digest in list(heart.fetches):
            heart.advance_fetch(digest, good=True)
        heart.check()
        whole, cut = heart.reap()
        self.answered += whole
        self.cut += cut
        return busy or bool(heart.fetches) or bool(heart.live) or heart.orders.patience() is not None

    async def _strange(self) -> str:
        """What keeps it from being at rest: something left of what has ended, an adapter pinned for nobody, or Redis
        saying something else of an engine than what the engine holds."""
        wanted = {self.catalog.generations[name][-1] for name in self.catalog.pinned}
        seen = {engine.engine_id: engine for engine in (await self.view.engines()).engines}
        for heart in self.hearts:
            load, held = heart.scheduler.load(), heart.holdings.all()
            if (load.running, load.waiting, load.free_blocks) != (0, 0, load.total_blocks):
                return f"{heart.name} has nothing to do, and a load of {load}"
            if busy := [each for each in held if each.leases or each.state != "ready"]:
                return f"{heart.name} has nothing to do, and {busy} are not at rest"
            if strays := {each.digest for each in held if each.pinned is not None} - wanted:
                return f"{strays} are pinned for nobody"
            engine = seen.get(heart.name)
            if engine is None:
                return f"{heart.name} is not registered"
            told = {digest: (each.tier.value, each.state, each.leases) for digest, each in engine.held.items()}
            so = {each.digest: (each.tier.value, each.state.value, each.leases) for each in held}
            if told != so:
                return f"{heart.name} holds {so}, and Redis says {told}"
            if await self._redis.xlen(f"chorus:engine:{{{heart.name}}}:commands"):
                return f"{heart.name} has commands that never ended"
        return ""

    def _any(self) -> Heart:
        return self._draw.choice(self.hearts)

    def _new_heart(self) -> Heart:
        self._serial += 1
        return Heart(f"engine{self._serial}", self._url, self.catalog.footprints, self._policy)
