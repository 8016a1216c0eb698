"""What engines are asked after a stream broke, and for how long."""

import asyncio
from pathlib import Path

import pytest

from chorus_gateway.ledger import orphans
from chorus_gateway.ledger.inquiry import UNHEARD
from chorus_gateway.ledger.orphans import Orphans
from chorus_gateway.ledger.values import Outcome
from chorus_gateway.values import Usage
from tests.gateway.support.gateway import eventually
from tests.gateway.support.ledger import USED, Acknowledged, KeepingEngine, KnownEngines, Worker, counted, counter, name


class Asking:
    def __init__(self, folder: Path, *, patience: float = 60) -> None:
        self.worker = Worker(folder)
        self.ledger = self.worker.ledger
        self.engine = KeepingEngine()
        self.engines = KnownEngines(engine_1=self.engine)
        self.unknown = counter()
        self.orphans = Orphans(self.ledger, self.engines, "worker1", self.unknown, patience=patience)

    async def round(self) -> None:
        self.ledger.pay()
        await self.orphans.round()


@pytest.fixture
def asking(folder: Path) -> Asking:
    return Asking(folder)


def broken(asking: Asking, request_id: str = "req_a") -> None:
    entry = asking.worker.admit(request_id)
    entry.sent(name(request_id), "engine-1")
    entry.broken(name(request_id))
    entry.close(Outcome.ERROR, Usage(10, 2))


async def test_the_engine_tells_when_the_submission_has_ended(asking: Asking) -> None:
    broken(asking)
    asking.engine.live = {name()}
    for _ in range(2 * UNHEARD):
        await asking.round()
    assert asking.ledger.unwritten == 0
    asking.engine.live, asking.engine.ended = set(), {name(): USED}
    await asking.round()
    (entry,) = asking.ledger.take(1)
    row = entry.tally.row()
    assert row is not None
    assert row.computed == USED.computed_tokens
    await asking.round()
    assert asking.engine.acknowledged == [name()]
    assert not asking.ledger.stale
    assert set(asking.engine.asked) == {"worker1"}


async def test_an_engine_that_never_heard_of_it_is_believed_in_the_end(asking: Asking) -> None:
    broken(asking)
    for _ in range(UNHEARD - 1):
        await asking.round()
    assert asking.ledger.unwritten == 0
    await asking.round()
    assert asking.ledger.unwritten == 1
    assert counted(asking.unknown) == 1
    assert not asking.ledger.questions


async def test_an_engine_that_is_away_is_waited_for(asking: Asking) -> None:
    broken(asking)
    asking.engines.clear()
    await asking.round()
    asking.engines["engine-1"] = asking.engine
    asking.engine.away = True
    await asking.round()
    assert asking.ledger.unwritten == 0
    asking.engine.away, asking.engine.ended = False, {name(): USED}
    await asking.round()
    assert asking.ledger.unwritten == 1
    assert counted(asking.unknown) == 0


async def test_an_engine_that_is_gone_for_good_is_not_waited_for(asking: Asking) -> None:
    broken(asking)
    asking.engines.clear()
    asking.engines.gone.add("engine-1")
    await asking.round()
    assert asking.ledger.unwritten == 1
    assert counted(asking.unknown) == 1


async def test_an_engine_that_stays_away_is_given_up(folder: Path) -> None:
    asking = Asking(folder, patience=-1.0)
    broken(asking)
    asking.engines.clear()
    await asking.round()
    assert asking.ledger.unwritten == 1
    assert counted(asking.unknown) == 1


async def test_while_engines_cannot_be_found_none_is_given_up(folder: Path) -> None:
    """A gateway that starts while Redis is away does not know where they are."""
    asking = Asking(folder, patience=0.0)
    broken(asking)
    asking.engines.clear()
    asking.engines.complete = False
    for _ in range(3):
        await asking.round()
    assert asking.ledger.unwritten == 0
    asking.engines.complete = True
    await asyncio.sleep(0.001)
    await asking.round()
    assert asking.ledger.unwritten == 1


async def test_what_is_still_needed_is_not_acknowledged(asking: Asking) -> None:
    """A stream broke with acknowledgements on it, while another request's answers have not all come."""
    needed = asking.worker.admit("req_open")
    needed.sent(name("req_open"), "engine-1")
    needed.ended(name("req_open"), USED, Acknowledged())
    entry = asking.worker.admit()
    entry.sent(name(), "engine-1")
    entry.ended(name(), USED, Acknowledged(lost=True))
    entry.close(Outcome.OK, USED)
    asking.engine.ended = {name(): USED, name("req_open"): USED, name("req_of_old"): USED}
    await asking.round()
    assert asking.engine.acknowledged == [name(), name("req_of_old")]
    assert not asking.ledger.stale


async def test_what_engines_keep_in_vain_is_found_in_time(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    """An acknowledgement was on a stream that broke."""
    monkeypatch.setattr(orphans, "INTERVAL", 0.001)
    monkeypatch.setattr(orphans, "SWEEP", 3)
    asking.engine.ended = {name("req_long_over"): USED}
    task = asyncio.create_task(asking.orphans.run())
    await eventually(lambda: asking.engine.acknowledged == [name("req_long_over")])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
