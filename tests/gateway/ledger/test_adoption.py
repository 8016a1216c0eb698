"""What becomes of a killed worker's requests."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from chorus_gateway.ledger import adoption as adopting
from chorus_gateway.ledger import records
from chorus_gateway.ledger.adoption import Adoption
from chorus_gateway.ledger.dead import find_dead
from chorus_gateway.ledger.inquiry import UNHEARD
from chorus_gateway.ledger.values import Outcome
from chorus_gateway.values import Usage
from tests.gateway.support.gateway import eventually
from tests.gateway.support.ledger import (
    AT,
    USED,
    KeepingEngine,
    KnownEngines,
    MemoryStore,
    Worker,
    adoption,
    counter,
    name,
)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for interval in ("INTERVAL", "ROUND", "RETRY"):
        monkeypatch.setattr(adopting, interval, 0.01)


def outcomes(store: MemoryStore) -> dict[str, tuple[str, int, int]]:
    """Outcome, delivered and computed tokens."""
    return {
        request_id: (row.closing.outcome.value, row.closing.delivered.completion_tokens, row.computed)
        for request_id, row in store.rows.items()
    }


def killed(folder: Path, worker_id: str = "worker1") -> None:
    """With a request in each state."""
    worker = Worker(folder, worker_id)
    worker.served("req_done")
    worker.admit("req_waiting")
    worker.admit("req_sent").sent(name("req_sent"), "engine-1")
    worker.admit("req_unheard").sent(name("req_unheard"), "engine-1")
    cancelled = worker.admit("req_cancelled")
    cancelled.sent(name("req_cancelled"), "engine-1")
    cancelled.close(Outcome.CANCELLED, Usage(10, 1))
    worker.kill()


def change(folder: Path, how: Callable[[bytes], bytes]) -> None:
    """What the only file of a journal holds."""
    (path,) = folder.glob("*.log")
    path.write_bytes(how(path.read_bytes()))


EXPECTED = {
    "req_done": ("ok", 4, 14),
    "req_waiting": ("orphaned", 0, 0),
    "req_sent": ("orphaned", 7, 15),
    "req_unheard": ("orphaned", 0, 0),
    "req_cancelled": ("cancelled", 1, 11),
}


def engine() -> KeepingEngine:
    used = {name("req_sent"): Usage(10, 7, 2, 15), name("req_cancelled"): Usage(10, 2, 0, 11)}
    return KeepingEngine({**used, name("req_forgotten"): USED})


async def adopt(folder: Path, store: MemoryStore, keeping: KeepingEngine | None = None, patience: float = 60) -> None:
    """Until nothing is left to adopt."""
    task = asyncio.create_task(adoption(folder, store, keeping, patience=patience).run())
    await eventually(lambda: not os.listdir(folder))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_every_admitted_request_has_one_row_with_its_engines_figures(folder: Path) -> None:
    killed(folder)
    store, keeping = MemoryStore(), engine()
    await adopt(folder, store, keeping)
    assert outcomes(store) == EXPECTED
    assert len(keeping.asked) >= UNHEARD
    assert not keeping.ended  # acknowledged, that too which the dead worker had taken down


async def test_who_keeps_budgets_hears_of_requests_that_are_in_sql(folder: Path) -> None:
    killed(folder)
    store, heard = MemoryStore(fails=1, commits=True), list[str]()
    adopting_now = adoption(folder, store, engine())
    adopting_now.entered = lambda each: heard.append(each.request_id) if each.request_id in store.rows else None
    task = asyncio.create_task(adopting_now.run())
    await eventually(lambda: not os.listdir(folder))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert sorted(heard) == sorted(EXPECTED)


async def test_rows_that_were_deleted_for_their_age_do_not_come_back(folder: Path) -> None:
    worker, store = Worker(folder), MemoryStore()
    worker.served("req_old")
    worker.admit("req_new", at=AT + 10).close(Outcome.OK, USED)
    worker.kill()
    old = Adoption(folder, store, KnownEngines(), counter(), counter(), oldest=lambda: AT + 5)
    task = asyncio.create_task(old.run())
    await eventually(lambda: not os.listdir(folder))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert store.rows.keys() == {"req_new"}


async def test_a_running_submission_is_waited_for(folder: Path) -> None:
    worker = Worker(folder)
    worker.admit().sent(name(), "engine-1")
    worker.kill()
    store, keeping = MemoryStore(), KeepingEngine(live={name()})
    task = asyncio.create_task(adopt(folder, store, keeping))
    await eventually(lambda: len(keeping.asked) > 2 * UNHEARD)
    assert not store.rows
    keeping.ended[name()] = USED
    keeping.live.clear()
    await task
    assert outcomes(store) == {"req_a": ("orphaned", 4, 14)}


async def test_an_engine_that_died_too_is_given_up(folder: Path) -> None:
    killed(folder)
    store = MemoryStore()
    await adopt(folder, store, patience=0.1)
    unknown = {"req_sent": ("orphaned", 0, 0), "req_cancelled": ("cancelled", 1, 10)}
    assert outcomes(store) == EXPECTED | unknown


async def test_the_heir_is_killed_too(folder: Path) -> None:
    """While it asks, after it had written some."""
    killed(folder)
    store, keeping = MemoryStore(), engine()
    (dead,) = find_dead(folder)
    keeping.away = True
    first = asyncio.create_task(adoption(folder, store, keeping).adopt(dead))
    await eventually(lambda: "req_done" in store.rows)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    keeping.away = False
    await adopt(folder, store, keeping)
    assert outcomes(store) == EXPECTED


async def test_a_kill_in_the_middle_of_the_write_to_sql(folder: Path) -> None:
    """Whether SQL has it or not, it is there once."""
    worker, store = Worker(folder), MemoryStore()
    for number in range(4):
        worker.served(f"req_{number}")
    batch = worker.ledger.take(2)
    await store.add([row for entry in batch if (row := entry.tally.row())])
    first = dict(store.rows)
    worker.kill()
    await adopt(folder, store)
    assert store.rows.keys() == {f"req_{number}" for number in range(4)}
    assert first.items() <= store.rows.items()


async def test_the_database_is_away_while_adopting(folder: Path) -> None:
    killed(folder)
    store = MemoryStore(fails=3, commits=True)
    await adopt(folder, store, engine())
    assert outcomes(store) == EXPECTED


async def test_a_torn_last_line_is_as_if_it_had_not_been_begun(folder: Path) -> None:
    killed(folder)
    change(folder, lambda data: data[:-7])  # the close of req_cancelled
    store = MemoryStore()
    await adopt(folder, store, engine())
    assert outcomes(store) == EXPECTED | {"req_cancelled": ("orphaned", 2, 11)}


async def test_many_dead_workers_and_one_that_lives(folder: Path) -> None:
    living = Worker(folder, "living")
    living.admit("req_living")
    for number in range(3):
        worker = Worker(folder, f"dead{number}")
        worker.served(f"req_{number}")
        worker.kill()
    store = MemoryStore()
    task = asyncio.create_task(adoption(folder, store).run())
    await eventually(lambda: len(os.listdir(folder)) == 2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert store.rows.keys() == {"req_0", "req_1", "req_2"}
    living.kill()


async def test_a_journal_that_cannot_be_understood_stays(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    killed(folder, "newer")
    change(folder, lambda data: data + records.line(["invented", "req_sent", 1]))
    killed(folder, "known")
    store = MemoryStore()
    task = asyncio.create_task(adoption(folder, store, engine()).run())
    await eventually(
        lambda: "cannot be adopted" in caplog.text and not any("known" in each for each in os.listdir(folder))
    )
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(os.listdir(folder)) == 2
    assert outcomes(store) == EXPECTED
