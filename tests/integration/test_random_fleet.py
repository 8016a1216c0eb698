"""Random operations on two engines' schedulers, slots, host memories and commands, two gateways' claims and the placer,
on a real Redis: every law of conservation holds after each, and every answer is its adapter's.

Real processes get theirs in test_random_operations.py.
"""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from scripts.stack.redis import find_server
from tests.support.failing import eventually
from tests.support.machine.world import WEIGHTS, World
from tests.support.often import often
from tests.support.stack import free_ports

pytestmark = [pytest.mark.slow, pytest.mark.timeout(often(300))]
OPERATIONS, SEEDS = often(10_000), 2  # `make test-long` performs a hundred thousand of each


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    torch.set_num_threads(1)
    server, folder, (port,) = find_server(), tmp_path_factory.mktemp("redis"), free_ports(1)
    assert server is not None
    command = [server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    log = Path(folder) / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out)
    eventually(lambda: b"Ready to accept" in log.read_bytes())
    yield f"redis://127.0.0.1:{port}/0"
    process.terminate()
    process.wait(timeout=60)


async def live(redis_url: str, seed: int, policy: str, kinds: list[str] | int) -> World:
    """A world from its beginning to its end."""
    redis, blocking = (Redis.from_url(redis_url, decode_responses=True, protocol=2) for _ in range(2))
    await redis.flushall()
    world = World(redis_url, redis, blocking, seed, policy)
    await world.start()
    try:
        await (world.run(kinds) if isinstance(kinds, int) else world.perform(kinds))
        await world.settle()
    finally:
        await world.stop()
        await redis.aclose()
        await blocking.aclose()
    return world


@pytest.mark.hypothesis  # random as those are, and as long as it is asked for
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_many_operations(redis_url: str, seed: int) -> None:
    world = await live(redis_url, seed, ("demand", "lru")[seed % 2], OPERATIONS)
    print(world.done, world.answered, world.cut)
    assert sum(world.done.values()) == OPERATIONS
    assert world.done.keys() == WEIGHTS.keys()
    assert world.answered > OPERATIONS / 20
    assert world.claims_won > 0
    assert world.claims_lost > 0
    assert world.refused_terms > 0


@settings(max_examples=often(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=st.lists(st.sampled_from(sorted(WEIGHTS)), max_size=120), seed=st.integers(0, 2**16))
def test_any_few_operations(redis_url: str, kinds: list[str], seed: int) -> None:
    """Each kind as often as any other; what fails is made small."""
    asyncio.run(live(redis_url, seed, "demand", kinds))
