"""Clients that ask sentinels go on when the master dies."""

import asyncio
import time
from collections.abc import Callable

import redis
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.contracts.redis_url.conftest import Start
from tests.contracts.redis_url.services import SERVICES

LOGIN = ("requirepass pass1", "masterauth pass1")
PATIENCE = 90.0  # seconds for what takes three or four on a machine that is not busy


async def test_a_failover_is_followed_by_every_service(start: Start) -> None:
    master = start(*LOGIN)
    replica = start(*LOGIN, f"replicaof 127.0.0.1 {master.port}")
    sentinel = start(*watching(master.port), sentinel=True)
    await until(lambda: replicas_known(sentinel.port) == 1)
    url = f"redis+sentinel://:pass1@127.0.0.1:9,127.0.0.1:{sentinel.port}/main/1?sentinel_password=pass2"
    clients = [service.connect(url, timeout=1.0) for service in SERVICES.values()]
    for number, client in enumerate(clients):
        await write(client, f"before:{number}")
    await until(lambda: keys_of(replica.port) == len(clients))

    master.stop()
    first_failures = [await failure(client) for client in clients]
    assert all(isinstance(error, RedisError) for error in first_failures)  # what callers know as Redis being away
    for number, client in enumerate(clients):
        await writes_again(client, f"after:{number}")
        assert await client.get(f"before:{number}") == "1"
    assert keys_of(replica.port) == 2 * len(clients)
    for client in clients:
        await client.aclose()


def watching(port: int) -> tuple[str, ...]:
    return (
        "requirepass pass2",
        f"sentinel monitor main 127.0.0.1 {port} 1",
        "sentinel auth-pass main pass1",
        "sentinel down-after-milliseconds main 500",
        "sentinel failover-timeout main 5000",
    )


def replicas_known(port: int) -> int:
    with redis.Redis(port=port, password="pass2") as client:
        return int(client.sentinel_master("main")["num-slaves"])


def keys_of(port: int) -> int:
    with redis.Redis(port=port, db=1, password="pass1") as client:
        return int(client.dbsize())


async def failure(client: Redis) -> Exception | None:
    try:
        await client.ping()
    except RedisError as error:
        return error
    return None


async def write(client: Redis, key: str) -> None:
    """As services do: by script, which a new master does not know, and in a transaction."""
    script = client.register_script("return redis.call('SET', KEYS[1], ARGV[1])")
    await script(keys=[key], args=["1"])
    async with client.pipeline(transaction=True) as pipeline:
        pipeline.expire(key, 60)
        await pipeline.execute()


async def writes_again(client: Redis, key: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            await write(client, key)
        except RedisError:
            assert time.monotonic() < deadline, "the failover was not followed"
            await asyncio.sleep(0.1)
        else:
            return


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
