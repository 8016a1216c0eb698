"""The connection to the gateway's database, and what its absence means."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from asyncpg import InterfaceError, PostgresError  # type: ignore[import-untyped]  # it has no types
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from chorus_gateway.errors import Unavailable

TIMEOUT_SECONDS = 2.0
CLOSING_STEPS = 400
WRITERS = 0x63686F77  # the advisory lock of exclusive transactions on PostgreSQL; any number but migrate's
TURNS = 5  # timeouts that a writer waits for the ones before it
BUSY_SHARE = 0.75  # of the timeout: how long a writer waits for another on SQLite
# asyncpg's own errors reach us bare while a connection is opened.
FAILURES = (SQLAlchemyError, PostgresError, InterfaceError, OSError, TimeoutError)

T = TypeVar("T")


class Database:
    """Sessions that turn every failure of the database into Unavailable, except a broken constraint, which is the
    caller's to explain."""

    def __init__(
        self, engine: AsyncEngine, *, timeout: float = TIMEOUT_SECONDS, threaded: Engine | None = None
    ) -> None:
        """`threaded`: for the same SQLite file, without asyncio; None where there is no such thing."""
        self.engine = engine
        self._threaded = threaded
        self._thread = ThreadPoolExecutor(1, "database")
        self._timeout = timeout
        self._turn = asyncio.Lock()
        self._open = 0  # transactions
        self._closing = False
        self._sessions = async_sessionmaker(engine, expire_on_commit=False)

    @property
    def timeout(self) -> float:
        """Seconds that a transaction may take."""
        return self._timeout

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """One transaction: committed at the end, rolled back on an exception."""
        async with self._answering(), self._sessions.begin() as session:
            yield session

    async def transact(self, work: Callable[[Connection], T]) -> T:
        """What `work` gives: one transaction, as of `session`, for what is done all the time. It may go on beyond the
        timeout.

        With SQLite it is one change of threads, where its asynchronous driver makes four a statement, and the loop
        takes turns with SQLAlchemy in each.
        """
        async with self._answering():
            if self._threaded is not None:
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._thread, _transacted, self._threaded, work)
            async with self.engine.begin() as connection:
                return await connection.run_sync(work)

    @asynccontextmanager
    async def _answering(self) -> AsyncIterator[None]:
        if self._closing:
            raise Unavailable("The gateway is shutting down: try again in a moment.")
        self._open += 1
        try:
            async with asyncio.timeout(self._timeout):
                yield
        except IntegrityError:
            raise
        except FAILURES as error:
            raise Unavailable("The gateway's database does not answer; try again in a moment.") from error
        finally:
            self._open -= 1

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[AsyncSession]:
        """One transaction that no other exclusive one of any gateway runs beside: for what is read before it is
        written. It must be short."""
        async with self._taking_turns(), self.session() as session:
            connection = await session.connection()
            if connection.dialect.name == "postgresql":
                await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITERS})")
            else:
                await connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield session

    @asynccontextmanager
    async def _taking_turns(self) -> AsyncIterator[None]:
        """Inside this process in the order of asking; SQLite gives its lock to whoever happens to try first."""
        try:
            async with asyncio.timeout(TURNS * self._timeout):
                await self._turn.acquire()
        except TimeoutError as error:
            raise Unavailable("The gateway's database is too slow for its writers; try again in a moment.") from error
        try:
            yield
        finally:
            self._turn.release()

    async def ping(self) -> None:
        async with self.session() as session:
            await session.execute(text("SELECT 1"))

    async def close(self) -> None:
        """What has begun is finished first, within its own time; a connection that is in use could not be closed."""
        self._closing = True
        for _ in range(CLOSING_STEPS):
            if not self._open:
                break
            await asyncio.sleep(2 * TIMEOUT_SECONDS / CLOSING_STEPS)
        await self.engine.dispose()
        await asyncio.to_thread(self._thread.shutdown)
        if self._threaded is not None:
            self._threaded.dispose()


def _transacted(engine: Engine, work: Callable[[Connection], T]) -> T:
    with engine.begin() as connection:
        return work(connection)


def connect(url: str, timeout: float = TIMEOUT_SECONDS) -> Database:
    """Opens no connection yet. A missing folder of a SQLite file is made."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return Database(create_async_engine(parsed, pool_pre_ping=True, pool_timeout=timeout), timeout=timeout)
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    # The connection that was used last has what was read last at hand: each has a cache and a thread of its own.
    prepare = partial(_prepare_sqlite, busy_pragma(timeout))
    engine = create_async_engine(parsed, pool_use_lifo=True)
    event.listen(engine.sync_engine, "connect", prepare)
    if not parsed.database or parsed.database == ":memory:":
        return Database(engine, timeout=timeout)
    threaded = create_engine(parsed.set(drivername="sqlite"), pool_size=1)
    event.listen(threaded, "connect", prepare)
    return Database(engine, timeout=timeout, threaded=threaded)


def busy_pragma(timeout: float) -> str:
    """Of a connection whose transactions take so many seconds at most."""
    return f"busy_timeout={round(1000 * BUSY_SHARE * timeout)}"


def _prepare_sqlite(busy: str, connection: Any, _record: object) -> None:
    """Readers beside one writer, foreign keys, and a writer that waits for another instead of failing."""
    cursor = connection.cursor()
    try:
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", busy):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()
    except BaseException:
        connection.close()  # the pool forgets a connection that fails here, and its thread would live on
        raise
