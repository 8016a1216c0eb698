from redis.asyncio import Redis

from chorus_gateway.routing.interventions import DRAINS, Intervention, RedisInterventions

ENGINES = ("one", "two")


async def test_an_order_reaches_every_gateway_and_is_undone(redis: Redis) -> None:
    mine, other = RedisInterventions(redis, "a"), RedisInterventions(redis, "b")
    await mine.order("one", drained=True)
    assert await other.drained(ENGINES) == {"one"}
    assert await mine.of(ENGINES) == {"one": Intervention(drained=True), "two": Intervention()}
    await other.order("one", drained=False)
    assert await mine.drained(ENGINES) == frozenset()


async def test_an_order_that_redis_lost_is_said_again(redis: Redis) -> None:
    mine, other = RedisInterventions(redis, "a"), RedisInterventions(redis, "b")
    await mine.order("one", drained=True)
    assert await mine.drained(ENGINES) == {"one"}
    await redis.flushall()
    assert await mine.drained(ENGINES) == {"one"}
    assert await other.drained(ENGINES) == {"one"}
    assert await redis.ttl(DRAINS) > 0
    assert await mine.drained(["two"]) == frozenset(), "it is gone, and with it the order"


async def test_ejections_are_counted_by_gateway_process_and_lapse(redis: Redis) -> None:
    mine, other = RedisInterventions(redis, "a"), RedisInterventions(redis, "b")
    await mine.show_ejected(["one"])
    await mine.show_ejected(["one"])
    await other.show_ejected(["one"])
    assert await mine.of(ENGINES) == {"one": Intervention(ejected_by=2), "two": Intervention()}
    await redis.zadd("chorus:ejected:{one}", {"b": 1})  # it said so long ago
    assert (await mine.of(ENGINES))["one"].ejected_by == 1
