"""When a gateway asks who loads an adapter, and what it makes of the answer."""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from chorus_gateway import redis_url
from chorus_gateway.engine_client.residency import Tier
from chorus_gateway.routing.claims import Claim, Claims, RedisClaims
from chorus_gateway.routing.member import Member
from chorus_gateway.routing.promises import Promises
from chorus_gateway.routing.registry import Announcement
from chorus_gateway.routing.view import View
from chorus_gateway.telemetry import Metrics
from chorus_gateway.values import Needs, ResolvedModel
from tests.gateway.support.claims import HeldClaims
from tests.gateway.support.members import hold, load, member
from tests.gateway.support.values import base


def model(adapter: str | None = "d") -> ResolvedModel:
    return ResolvedModel("m", base(), adapter)


class Asking:
    def __init__(self, *members: Member, book: HeldClaims | RedisClaims | None = None, timeout: float = 0.1) -> None:
        self.members = list(members) or [member("one"), member("two")]
        self.book = book or HeldClaims()
        self.metrics = Metrics()
        self.promises = Promises()
        look = lambda digest: View(self.members, self.promises)  # noqa: E731
        self.claims = Claims(self.book, look, self.promises, self.metrics.adapter_claims_total, timeout=timeout)

    def results(self, name: str) -> float:
        return self.metrics.registry.get_sample_value("adapter_claims_total", {"result": name}) or 0.0


async def test_jobs_of_one_adapter_share_one_call() -> None:
    book = HeldClaims()
    asking = Asking(book=book)
    await asyncio.gather(*(asking.claims.settle(model()) for _ in range(10)))
    await asking.claims.settle(model())
    assert book.calls == 1
    assert asking.promises.engine("d") == book.held["d"]
    assert (asking.results("won"), asking.results("contended")) == (1, 0)


async def test_who_is_second_goes_by_the_first_ones_choice() -> None:
    book = HeldClaims({"d": "two", "e": "one"})
    asking = Asking(book=book)
    for adapter in ("d", "e"):
        await asking.claims.settle(model(adapter))
        assert asking.promises.engine(adapter) == book.held[adapter]
    assert asking.results("contended") == 2


@pytest.mark.parametrize("tier", [Tier.FETCHING, Tier.HOST, Tier.LOADING, Tier.GPU])
async def test_nothing_is_asked_about_what_an_engine_has(tier: Tier) -> None:
    book = HeldClaims()
    asking = Asking(member("one", d=tier), member("two"), book=book)
    assert asking.claims.start(model()) is None
    assert asking.claims.start(model(None)) is None
    asking.members[0].announced = Announcement("one", "one", draining=True)
    asking.members.append(member("three"))
    await asking.claims.settle(model())
    assert book.calls == 1, "what a draining engine has is of no use"
    assert book.held["d"] in ("two", "three")


async def test_nothing_is_asked_where_there_is_no_choice() -> None:
    for members in ([member("one")], [member("one"), member("two")]):
        asking = Asking(*members)
        if len(members) == 2:
            members[1].announced = Announcement("two", "two", stalled=True)
        assert asking.claims.start(model()) is None


async def test_a_promise_of_an_engine_that_hangs_is_asked_about_again() -> None:
    asking = Asking(member("one"), member("two"), member("three"))
    await asking.claims.settle(model())
    engine = asking.promises.engine("d")
    next(each for each in asking.members if each.id == engine).announced = Announcement("", "", stalled=True)
    await asking.claims.settle(model())
    assert asking.promises.engine("d") not in (engine, None)
    assert asking.results("won") == 2


async def test_adapters_that_are_promised_count() -> None:
    asking = Asking()
    for each in asking.members:
        load(each, 0, free_slots=3)
    for at in range(6):
        await asking.claims.settle(model(f"adapter-{at}"))
    assert [asking.promises.count(engine) for engine in ("one", "two")] == [3, 3]
    hold(asking.members[0], d=Tier.GPU)


async def test_without_redis_a_gateway_goes_by_its_own_choice() -> None:
    asking = Asking(book=HeldClaims(away=True))
    await asking.claims.settle(model())
    assert asking.promises.engine("d") in ("one", "two")
    await asking.claims.settle(model())
    assert asking.results("unavailable") == 1


async def test_nobody_waits_for_longer_than_the_timeout() -> None:
    class Slow(HeldClaims):
        async def claim(self, adapter: str, engine: str, engines: Sequence[str]) -> Claim:
            await asyncio.sleep(3600)
            return await super().claim(adapter, engine, engines)

    asking = Asking(book=Slow(), timeout=0.05)
    await asyncio.wait_for(asking.claims.settle(model()), 60)
    assert asking.results("unavailable") == 1
    assert asking.promises.engine("d") is not None


async def test_a_redis_that_takes_connections_and_says_nothing() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        redis: Redis = redis_url.connect(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", 0.1)
        async with aclosing(RedisClaims(redis)) as book:
            asking = Asking(book=book)
            await asyncio.wait_for(asking.claims.settle(model()), 60)
            assert asking.results("unavailable") == 1
        await redis.aclose()


async def test_one_that_leaves_takes_no_other_along() -> None:
    asking = Asking()
    leaving = asyncio.create_task(asking.claims.settle(model()))
    staying = asyncio.create_task(asking.claims.settle(model()))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving, staying])
    assert leaving.cancelled()
    assert asking.results("won") == 1


async def test_only_engines_that_can_hold_the_adapter_may_be_given_it() -> None:
    book = HeldClaims({"d": "small"})
    asking = Asking(member("small", rank=16), member("one"), member("two"), book=book)
    await asking.claims.settle(replace(model(), needs=Needs(rank=32)))
    assert asking.promises.engine("d") in ("one", "two")
