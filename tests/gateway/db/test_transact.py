import asyncio
from contextlib import suppress

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from chorus_gateway.db import Database
from chorus_gateway.errors import Unavailable

_INSERT = text("INSERT INTO prices (model, adapter, input, cached, output, updated_at) VALUES (:model, '', 1, 1, 1, 0)")
_COUNT = text("SELECT count(*) FROM prices")


def add(connection: Connection, model: str = "base") -> int:
    connection.execute(_INSERT, {"model": model})
    return int(connection.execute(_COUNT).scalar_one())


async def count(database: Database) -> int:
    async with database.session() as session:
        return int((await session.execute(_COUNT)).scalar_one())


async def test_what_was_done_is_committed_and_its_answer_given(any_database: Database) -> None:
    assert await any_database.transact(add) == 1
    assert await count(any_database) == 1


async def test_nothing_is_left_of_what_was_broken_off(any_database: Database) -> None:
    def break_off(connection: Connection) -> None:
        add(connection)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await any_database.transact(break_off)
    assert await count(any_database) == 0
    assert await any_database.transact(add) == 1


async def test_a_broken_constraint_is_the_callers(any_database: Database) -> None:
    await any_database.transact(add)
    with pytest.raises(IntegrityError):
        await any_database.transact(add)


async def test_it_waits_for_whoever_writes(any_database: Database) -> None:
    async with any_database.exclusive() as session:
        await session.execute(_INSERT, {"model": "first"})
        second = asyncio.create_task(any_database.transact(lambda connection: add(connection, "second")))
        await asyncio.sleep(0.05)
    await second
    assert await count(any_database) == 2


async def test_what_is_cancelled_leaves_the_next_one_alone(any_database: Database) -> None:
    task = asyncio.create_task(any_database.transact(lambda connection: add(connection, "cancelled")))
    await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert await any_database.transact(lambda connection: add(connection, "next")) in (1, 2)


async def test_a_database_that_does_not_answer_is_unavailable(any_database: Database) -> None:
    with pytest.raises(Unavailable):
        await any_database.transact(lambda connection: connection.execute(text("SELECT * FROM nothing")))


async def test_a_closed_one_takes_nothing(any_database: Database) -> None:
    await any_database.transact(add)
    await any_database.close()
    with pytest.raises(Unavailable):
        await any_database.transact(add)
