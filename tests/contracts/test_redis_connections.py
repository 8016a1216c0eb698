"""Each service's Redis client lets a task be cancelled whenever it is, which redis-py alone does not on Python 3.11,
and has one kind of error for a connection that was lost."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as ConnectionLost

import chorus_adapter_store.redis_url
import chorus_engine.presence.redis_url
import chorus_gateway.redis_url

CLIENTS = {
    "gateway": chorus_gateway.redis_url.connect,
    "engine": chorus_engine.presence.redis_url.connect,
    "adapter-store": chorus_adapter_store.redis_url.connect,
}


@pytest.fixture(params=CLIENTS)
def connect(request: pytest.FixtureRequest) -> Callable[[str], Redis]:
    found: Callable[[str], Redis] = CLIENTS[request.param]
    return found


async def cancelled_while_writing(connection: Any) -> bool:
    """Whether a task is cancelled that is told so in the very moment in which its write succeeds."""
    written = asyncio.Event()

    async def write(command: object) -> None:
        written.set()
        await asyncio.sleep(0)

    async def work() -> None:
        await connection.send_packed_command(b"PING", check_health=False)

    connection._send_packed_command = write
    connection._reader, connection._writer = object(), object()  # it is connected, for all it knows
    task = asyncio.create_task(work())
    await written.wait()
    await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=60)
    assert done
    connection._reader = connection._writer = None
    return task.cancelled()


async def test_a_task_that_is_cancelled_while_it_writes_ends(connect: Callable[[str], Redis]) -> None:
    pool: Any = connect("redis://127.0.0.1:1/0").connection_pool
    assert await cancelled_while_writing(pool.make_connection())


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "unix:///tmp/redis", "redis+sentinel://127.0.0.1:1/main"])
def test_every_form_of_address_has_such_connections(connect: Callable[[str], Redis], url: str) -> None:
    kind = connect(url).connection_pool.connection_class
    assert kind.__mro__[1].__name__ == "Heeding"


def test_the_three_services_connect_alike() -> None:
    """They share no package, and should not drift apart."""
    modules = (chorus_adapter_store.redis_url, chorus_engine.presence.redis_url, chorus_gateway.redis_url)
    assert len({Path(str(module.__file__)).read_text() for module in modules}) == 1


async def test_a_connection_that_closes_while_it_is_made_is_lost(connect: Callable[[str], Redis]) -> None:
    """uvloop says RuntimeError of a transport that is closed, where asyncio's own takes the bytes and drops them."""
    pool: Any = connect("redis://127.0.0.1:1/0").connection_pool
    connection = pool.make_connection()

    async def write(command: object) -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

    connection._send_packed_command = write
    connection._reader, connection._writer = Mock(), Mock()  # it is connected, for all it knows
    with pytest.raises(ConnectionLost, match="closed"):
        await connection.send_packed_command(b"PING", check_health=False)
