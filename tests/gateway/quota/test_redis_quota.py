import asyncio

from redis.asyncio import Redis

from chorus_gateway.quota import RedisQuota
from chorus_gateway.values import Limits, Tenant

TENANT = Tenant("acme", Limits(requests_per_minute=100, tokens_per_minute=1000, concurrent_requests=2))


async def test_a_lease_of_a_dead_gateway_lapses(redis: Redis) -> None:
    dead, alive = RedisQuota(redis, lease=0.1), RedisQuota(redis, lease=0.1)
    await dead.reserve(TENANT, "a", 1)
    await dead.reserve(TENANT, "b", 1)
    await asyncio.sleep(0.15)
    await alive.reserve(TENANT, "c", 1)
    assert await alive.in_flight(TENANT) == 1


async def test_leases_of_running_requests_are_kept(redis: Redis) -> None:
    quota = RedisQuota(redis, lease=0.3)
    reservation = await quota.reserve(TENANT, "a", 1)
    for _ in range(4):
        await asyncio.sleep(0.15)
        await quota.renew()
    assert await quota.in_flight(TENANT) == 1
    await quota.settle(reservation, 1)
    await quota.renew()
    assert await quota.in_flight(TENANT) == 0


async def test_a_settled_lease_is_not_renewed_back(redis: Redis) -> None:
    quota, other = RedisQuota(redis), RedisQuota(redis)
    reservation = await quota.reserve(TENANT, "a", 1)
    await other.settle(reservation, 1)
    await quota.renew()
    assert await quota.in_flight(TENANT) == 0


async def test_keys_share_a_hash_tag_and_expire(redis: Redis) -> None:
    await RedisQuota(redis).reserve(TENANT, "a", 1)
    keys = sorted([key async for key in redis.scan_iter()])
    assert keys == ["chorus:quota:{acme}:account", "chorus:quota:{acme}:leases"]
    for key in keys:
        assert 0 < await redis.pttl(key) <= 120_000


async def test_a_debt_outlives_the_usual_expiry(redis: Redis) -> None:
    quota = RedisQuota(redis)
    await quota.settle(await quota.reserve(TENANT, "a", 1), 10_000)
    assert await redis.pttl("chorus:quota:{acme}:account") > 600_000  # 9000 in debt at 1000 a minute is 9 minutes
