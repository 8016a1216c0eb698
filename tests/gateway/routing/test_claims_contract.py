"""What every book of claims answers: the one in Redis, and the one that other tests use."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from redis.asyncio import Redis

from chorus_gateway.routing.claims import ClaimBook, RedisClaims
from tests.gateway.support.claims import HeldClaims

BOTH = ["one", "two"]


@pytest.fixture(params=[HeldClaims, RedisClaims])
async def book(request: pytest.FixtureRequest, redis: Redis) -> AsyncIterator[ClaimBook]:
    if request.param is HeldClaims:
        yield HeldClaims()
        return
    async with aclosing(RedisClaims(redis)) as book:
        yield book


async def test_the_first_to_ask_decides(book: ClaimBook) -> None:
    first = await book.claim("d", "one", BOTH)
    assert (first.engine, first.won) == ("one", True)
    second = await book.claim("d", "two", BOTH[::-1])
    assert (second.engine, second.won) == ("one", False)
    assert 0 < second.seconds <= first.seconds == 5
    assert (await book.claim("other", "two", BOTH)).engine == "two"


async def test_a_claim_for_an_engine_that_is_away_is_taken_over_once(book: ClaimBook) -> None:
    await book.claim("d", "gone", ["gone", *BOTH])
    claims = await asyncio.gather(*(book.claim("d", BOTH[at % 2], BOTH) for at in range(10)))
    assert [claim.won for claim in claims].count(True) == 1
    assert {claim.engine for claim in claims} == {next(claim.engine for claim in claims if claim.won)}


async def test_claims_in_redis_lapse(redis: Redis) -> None:
    async with aclosing(RedisClaims(redis, lease=0.05)) as book:
        assert (await book.claim("d", "one", BOTH)).won
        assert await redis.pttl("chorus:claim:{d}") <= 50
        await asyncio.sleep(0.1)
        assert (await book.claim("d", "two", BOTH)).engine == "two"
