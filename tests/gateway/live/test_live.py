"""What workers report, and what is added up of it."""

from redis.asyncio import Redis

from chorus_gateway.db import Database
from chorus_gateway.live import LiveBoard, LiveReports
from chorus_gateway.live.reports import WORKERS, report_key
from chorus_gateway.live.snapshot import MOST_TENANTS, Activity, Snapshot, summed
from chorus_gateway.telemetry.tenant_tokens import TenantTokens
from chorus_gateway.values import Scope
from tests.gateway.support.door import open_door
from tests.gateway.support.redis_server import RedisServer, redis_client


class Worker:
    def __init__(self, redis: Redis) -> None:
        self.census: dict[str, tuple[int, int]] = {}
        self.tokens = TenantTokens()
        self.now = 100.0
        self.reports = LiveReports(lambda: self.census, self.tokens, redis, clock=lambda: self.now)
        self.board = LiveBoard(redis, self.reports, tuple)

    async def second(self, **tokens: int) -> None:
        self.now += 1.0
        for tenant, count in tokens.items():
            self.tokens.add(tenant, count)
        await self.reports.report()


async def test_workers_are_added_up(redis: Redis) -> None:
    one, other = Worker(redis), Worker(redis)
    one.census, other.census = {"acme": (2, 1)}, {"acme": (1, 0), "zeta": (0, 4)}
    await one.second(acme=10)
    await other.second(acme=30)
    live = await one.board.read()
    assert (live.workers, live.complete) == (2, True)
    assert live.activity.tenants == {"acme": Activity(3, 1, 40.0), "zeta": Activity(0, 4, 0.0)}
    assert live.activity.total == Activity(3, 5, 40.0)


async def test_a_rate_is_of_the_last_seconds(redis: Redis) -> None:
    worker = Worker(redis)
    for _ in range(3):
        await worker.second(acme=10)
    assert worker.reports.latest.tenants == {"acme": Activity(0, 0, 10.0)}
    for _ in range(3):
        await worker.second()
    assert worker.reports.latest.tenants == {"acme": Activity(0, 0, 4.0)}
    for _ in range(2):
        await worker.second()
    assert worker.reports.latest.tenants == {}


async def test_a_worker_that_ends_is_counted_no_more(redis: Redis) -> None:
    one, dead = Worker(redis), Worker(redis)
    dead.census = {"acme": (1, 0)}
    await one.second()
    await dead.second()
    assert 0 < await redis.ttl(report_key(dead.reports.worker)) <= 5
    await redis.delete(report_key(dead.reports.worker))  # as its time to live does
    live = await one.board.read()
    assert (live.workers, live.activity.tenants) == (1, {})
    assert await redis.smembers(WORKERS) == {one.reports.worker}


async def test_redis_away_leaves_what_the_worker_knows_itself(own_redis_server: RedisServer) -> None:
    async with redis_client(own_redis_server.url) as redis:
        worker = Worker(redis)
        worker.census = {"acme": (1, 0)}
        own_redis_server.stop()
        await worker.second(acme=5)
        live = await worker.board.read()
    assert (live.workers, live.complete, live.activity.tenants) == (1, False, {"acme": Activity(1, 0, 5.0)})


async def test_what_is_no_report_is_no_error(redis: Redis) -> None:
    worker = Worker(redis)
    await worker.second()
    await redis.set(report_key(worker.reports.worker), '{"tenants": 3}')
    assert not (await worker.board.read()).complete


def test_a_report_is_bounded() -> None:
    many = Snapshot({f"t{index:04}": Activity(index, 0, 1.0) for index in range(MOST_TENANTS + 2)})
    few = many.busiest()
    assert (len(few.tenants), next(iter(few.tenants)), few.others) == (MOST_TENANTS, "t0501", Activity(1, 0, 2.0))
    assert few.total == many.total
    assert summed([few, Snapshot()]) == few
    assert Snapshot.from_json(few.to_json()) == few


async def test_the_route_is_for_administrators(database: Database, redis: Redis) -> None:
    worker = Worker(redis)
    worker.census = {f"t{index}": (index, 0) for index in range(4)}
    await worker.second()
    async with open_door(database, redis, "127.0.0.1:1", model="base") as door:
        route = "/admin/v1/live"
        key = await door.tenant_key("acme", Scope.INFER, Scope.ADAPTERS)
        assert (await door.http.get(route)).status_code == 401
        assert (await door.http.get(route, headers=key)).status_code == 403
        answer = (await door.http.get(route, params={"limit": 2}, headers=door.admin)).json()
        assert [each["tenant"] for each in answer["tenants"]] == ["t3", "t2"]
        assert (answer["total"]["running"], answer["others"]["running"], answer["workers"]) == (6, 1, 1)
        assert (await door.http.get(route, params={"limit": 501}, headers=door.admin)).status_code == 400
