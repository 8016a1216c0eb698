"""One database, SQLite or PostgreSQL, and the two kinds of transactions the catalog uses."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Self, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from chorus_adapter_store.catalog.migrate import SchemaTooNew, upgrade
from chorus_adapter_store.errors import StartError, Unavailable

T = TypeVar("T")

_WRITE = "chorus_write"
_BUSY_SECONDS = 10
_ASKERS = 2  # threads
# Publications hold this lock shared and the removal of blobs holds it alone, over all stores of one database.
_BLOBS_LOCK = 0x63686F72  # "chor"
_DRIVERS = ("sqlite+aiosqlite", "postgresql+asyncpg")


class Database:
    """`questions`: another engine for the same SQLite file, without asyncio."""

    def __init__(self, engine: AsyncEngine, questions: Engine | None = None) -> None:
        self._engine = engine
        self._questions = questions
        self._askers = ThreadPoolExecutor(_ASKERS, "catalog")
        self.dialect = engine.dialect.name
        # A reading sees one moment in all of its queries; SQLite's does by itself.
        postgresql = self.dialect == "postgresql"
        self._reading = engine.execution_options(isolation_level="REPEATABLE READ") if postgresql else engine

    @classmethod
    async def open(cls, url: str) -> Self:
        """Connect and migrate. Raises StartError."""
        parsed = _parse(url)
        shown = parsed.render_as_string(hide_password=True)
        try:
            if parsed.get_backend_name() == "sqlite":
                await asyncio.to_thread(_check_sqlite, _sqlite_file(parsed))
            engine = _create_engine(parsed)
            await _prepare(engine)
            questions = _create_questions(parsed) if parsed.get_backend_name() == "sqlite" else None
        except SchemaTooNew as error:
            raise StartError(
                f"the database {shown} was written by a newer Chorus ({error}); upgrade the store"
            ) from None
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise StartError(f"cannot use the database {shown}: {_reason(error)}") from None
        return cls(engine, questions)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Raises Unavailable when the database is away."""
        async with _answering(), self._reading.connect() as connection:
            yield connection

    async def ask(self, question: Callable[[Connection], T]) -> T:
        """What `question` answers, of one moment, for what requests wait for. Raises Unavailable as `read`.

        It runs on a thread: SQLite's asynchronous driver changes threads four times for each statement.
        """
        if self._questions is None:
            async with self.read() as connection:
                return await connection.run_sync(question)
        async with _answering():
            return await asyncio.get_running_loop().run_in_executor(self._askers, _asked, self._questions, question)

    @asynccontextmanager
    async def write(self, *, removes_blobs: bool = False) -> AsyncIterator[AsyncConnection]:
        """A transaction that commits at the end. One that removes blobs runs alone among all stores' writes.

        Raises Unavailable when the database is away.
        """
        async with _answering(), self._engine.execution_options(**{_WRITE: True}).begin() as connection:
            if self.dialect == "postgresql":
                suffix = "" if removes_blobs else "_shared"
                await connection.execute(text(f"SELECT pg_advisory_xact_lock{suffix}(:key)"), {"key": _BLOBS_LOCK})
            yield connection

    async def close(self) -> None:
        await self._engine.dispose()
        await asyncio.to_thread(self._askers.shutdown)
        if self._questions is not None:
            self._questions.dispose()


def _asked(questions: Engine, question: Callable[[Connection], T]) -> T:
    with questions.connect() as connection:
        return question(connection)


async def _prepare(engine: AsyncEngine) -> None:
    """Migrate; one store at a time."""
    try:
        async with engine.execution_options(**{_WRITE: True}).begin() as connection:
            if engine.dialect.name == "postgresql":
                await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _BLOBS_LOCK})
            await connection.run_sync(upgrade)
    except BaseException:
        await engine.dispose()
        raise


@asynccontextmanager
async def _answering() -> AsyncIterator[None]:
    try:
        yield
    except (IntegrityError, DataError, ProgrammingError):
        raise  # a mistake here, not an outage
    except (DBAPIError, PoolTimeout, OSError) as error:
        raise Unavailable("the adapter catalog's database did not answer; try again later") from error


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StartError("CHORUS_STORE_DATABASE_URL is not a database URL") from None
    plain = {"sqlite": _DRIVERS[0], "postgresql": _DRIVERS[1], "postgres": _DRIVERS[1]}
    parsed = parsed.set(drivername=plain.get(parsed.drivername, parsed.drivername))
    if parsed.drivername not in _DRIVERS:
        raise StartError(
            f"CHORUS_STORE_DATABASE_URL begins with {parsed.drivername!r}; use one of {', '.join(_DRIVERS)}"
        )
    return parsed


def _create_engine(url: URL) -> AsyncEngine:
    if url.get_backend_name() == "postgresql":
        return create_async_engine(
            url, pool_pre_ping=True, pool_size=10, connect_args={"timeout": 5, "command_timeout": 30}
        )
    engine = create_async_engine(url, connect_args={"timeout": _BUSY_SECONDS})
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _create_questions(url: URL) -> Engine:
    engine = create_engine(url.set(drivername="sqlite"), pool_size=_ASKERS, connect_args={"timeout": _BUSY_SECONDS})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver begins no transaction by itself: _begin_sqlite does
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that begins by reading and then writes fails at once when another wrote in between; one that
    # begins IMMEDIATE waits for its turn instead.
    immediate = connection.get_execution_options().get(_WRITE)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _sqlite_file(url: URL) -> Path:
    if not url.database or url.database == ":memory:":
        raise StartError("CHORUS_STORE_DATABASE_URL is in memory, where uploads would be lost; give a file")
    return Path(url.database)


def _check_sqlite(path: Path) -> None:
    """With the plain driver: the asynchronous one leaves a thread behind when it cannot open a file.

    Raises OSError or sqlite3.Error.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS)) as connection:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise OSError(f"the file is damaged ({' '.join(found.split())}); restore it from a backup or move it away")


def _reason(error: BaseException) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    text_ = " ".join(str(cause).split()) or type(cause).__name__
    if "file is not a database" in text_ or "malformed" in text_:
        return f"{text_}; restore it from a backup or move it away"
    return text_
