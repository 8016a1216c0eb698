"""However a request ends, its entry in the ledger gets what every submission of it came to."""

import asyncio
from dataclasses import dataclass

import pytest

from chorus_gateway.errors import DeadlineExceeded, GatewayError, Overloaded, Unavailable
from chorus_gateway.ledger.tally import Tally
from chorus_gateway.ledger.values import Outcome, UsageRow
from chorus_gateway.pipeline import PipelineLimits
from chorus_gateway.tenants.terms import ModelTerms
from chorus_gateway.values import Band, Price, Usage
from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.gateway.support.answers import Heard, Whole, ask
from tests.gateway.support.fake_engine import FakeEngine, Reply
from tests.gateway.support.gateway import FreeTerms, Gateway, GatewaySettings, eventually, running_gateway
from tests.gateway.support.tokenizers import END, ids

TEXT = ids("the quick brown fox jumps over the lazy dog")
PROMPT = len(ids("hello"))
PRICE = Price(input=1000, cached=100, output=3000)  # 1, 0.1 and 3 billionths a token
DRAINING = pb.Error(code=pb.ERROR_CODE_DRAINING, message="the engine is shutting down")


@dataclass
class Kept:
    tally: Tally
    row: UsageRow

    @property
    def delivered(self) -> Usage:
        return self.row.closing.delivered


async def kept(gateway: Gateway, engines: list[FakeEngine], request_id: str = "r") -> Kept:
    """Once nothing is awaited: engines agree and, when told, forget."""
    await gateway.settles()
    (entry,) = [entry for entry in gateway.ledger.entries if entry.request_id == request_id]
    told = {name: usage for engine in engines for name, usage in engine.usage.all.items()}
    for name, sent in entry.tally.sent.items():
        assert sent.usage is not None
        assert sent.usage.computed_tokens == told[name].computed_tokens, name
    row = entry.tally.row()
    assert row is not None
    assert row.computed == sum(usage.computed_tokens for usage in told.values())
    gateway.ledger.pay()
    await eventually(lambda: not sum(engine.usage.unacknowledged for engine in engines))
    return Kept(entry.tally, row)


async def test_a_request_that_ends_well(engines: list[FakeEngine]) -> None:
    for engine in engines:
        engine.replier = lambda submit: Reply([*TEXT, END], cached=1)
    async with running_gateway(engines, GatewaySettings(terms=FreeTerms(ModelTerms(PRICE)))) as gateway:
        await gateway.pipeline.run(ask(band=Band.PRIORITY), Heard())
        found = await kept(gateway, engines)
        assert found.row.closing.outcome is Outcome.OK
        assert found.delivered == Usage(PROMPT, len(TEXT) + 1, 1)
        assert found.row.closing.cost == -(-((PROMPT - 1) * 1000 + 100 + (len(TEXT) + 1) * 3000) // 1000)
        assert gateway.quota.costs == [found.row.closing.cost]
        admission = found.tally.admission
        assert (admission.tenant, admission.key, admission.base) == ("acme", "k1", "chorus-demo")
        assert (admission.band, admission.price) == (Band.PRIORITY, PRICE)


async def test_answers_of_several_choices(engines: list[FakeEngine]) -> None:
    async with running_gateway(engines) as gateway:
        await gateway.pipeline.run(ask(n=3), Heard())
        found = await kept(gateway, engines)
        assert len(found.tally.sent) == 3
        assert found.delivered.prompt_tokens == PROMPT


async def test_what_runs_on_after_a_stop_string_is_computed_and_not_delivered(engines: list[FakeEngine]) -> None:
    for engine in engines:
        engine.replier = lambda submit: Reply(TEXT, together=len(TEXT), hang=True)
    async with running_gateway(engines) as gateway:
        await gateway.pipeline.run(ask(stop=("quick",)), Heard())
        found = await kept(gateway, engines)
        assert found.row.closing.outcome is Outcome.OK
        assert 0 < found.delivered.completion_tokens < len(TEXT)
        assert found.row.computed == PROMPT + len(TEXT) - 1


async def test_a_client_that_vanishes(engines: list[FakeEngine]) -> None:
    for engine in engines:
        engine.replier = lambda submit: Reply(TEXT[:3], hang=True)
    async with running_gateway(engines) as gateway:
        heard = Heard()
        task = asyncio.create_task(gateway.pipeline.run(ask(), heard))
        await eventually(lambda: len(heard.pieces) == 3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        found = await kept(gateway, engines)
        assert found.row.closing.outcome is Outcome.CANCELLED
        assert found.delivered == Usage(PROMPT, 3)


async def test_a_deadline_at_the_engine(engines: list[FakeEngine]) -> None:
    for engine in engines:
        engine.replier = lambda submit: Reply(TEXT[:2], hang=True)
    async with running_gateway(engines, GatewaySettings(limits=PipelineLimits(request_timeout=2.0))) as gateway:
        with pytest.raises(DeadlineExceeded):
            await gateway.pipeline.run(ask(), Heard())
        found = await kept(gateway, engines)
        assert found.row.closing.outcome is Outcome.DEADLINE
        assert found.delivered == Usage(PROMPT, 2)


async def test_every_attempt_is_computed_and_the_last_is_delivered(engines: list[FakeEngine]) -> None:
    def once(submit: pb.Submit) -> Reply:
        return Reply([], error=DRAINING) if submit.attempt == 0 else Reply([*TEXT, END])

    for engine in engines:
        engine.replier = once
    async with running_gateway(engines) as gateway:
        await gateway.pipeline.run(ask(), Heard())
        found = await kept(gateway, engines)
        assert sorted(name.attempt for name in found.tally.sent) == [0, 1]
        assert found.delivered == Usage(PROMPT, len(TEXT) + 1)


@pytest.mark.parametrize("tokens", [0, 3])
async def test_a_stream_that_breaks(engines: list[FakeEngine], tokens: int) -> None:
    """The engine is asked when it is back; the gateway had no final frame of it."""
    engine = engines[0]
    taken: list[pb.Submit] = []

    def hangs(submit: pb.Submit) -> Reply:
        taken.append(submit)
        return Reply(TEXT[:tokens], hang=True)

    engine.replier = hangs
    async with running_gateway([engine]) as gateway:
        heard = Heard()
        task = asyncio.create_task(gateway.pipeline.run(ask(), heard))
        await eventually(lambda: bool(taken) and len(heard.pieces) == tokens)
        engine.replier = lambda submit: Reply([*TEXT, END])
        await engine.stop()
        await engine.start()
        if tokens:
            with pytest.raises(Unavailable):
                await task
        await asyncio.gather(task, return_exceptions=True)
        found = await kept(gateway, [engine])
        assert len(found.tally.sent) == (1 if tokens else 2)
        assert found.row.closing.outcome is (Outcome.ERROR if tokens else Outcome.OK)
        assert found.delivered.completion_tokens == (tokens or len(TEXT) + 1)
        await eventually(lambda: not gateway.ledger.stale)


@pytest.mark.parametrize("error", [DRAINING, None], ids=["broken off", "out of time"])
async def test_what_breaks_off_before_its_client_got_any_of_it_costs_nothing(
    engines: list[FakeEngine], error: pb.Error | None
) -> None:
    """An answer that is sent whole: three tokens were made, and the client was told of an error."""
    engines[0].replier = lambda submit: Reply(TEXT[:3], error=error, hang=error is None)
    limits = PipelineLimits(request_timeout=60.0 if error else 2.0)
    settings = GatewaySettings(terms=FreeTerms(ModelTerms(PRICE)), limits=limits)
    async with running_gateway(engines[:1], settings) as gateway:
        whole = Whole()
        with pytest.raises(Unavailable if error else DeadlineExceeded):
            await gateway.pipeline.run(ask(), whole)
        found = await kept(gateway, engines[:1])
        assert len(whole.pieces) == 3
        assert (found.delivered, found.row.closing.cost) == (Usage(0, 0), 0)
        assert found.row.computed == PROMPT + 2
        assert (gateway.quota.settled, gateway.quota.costs) == ([0], [0])


async def test_who_leaves_a_whole_answer_pays_for_what_was_made(engines: list[FakeEngine]) -> None:
    engines[0].replier = lambda submit: Reply(TEXT[:3], hang=True)
    async with running_gateway(engines[:1]) as gateway:
        whole = Whole()
        task = asyncio.create_task(gateway.pipeline.run(ask(), whole))
        await eventually(lambda: len(whole.pieces) == 3)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        found = await kept(gateway, engines[:1])
        assert (found.row.closing.outcome, found.delivered) == (Outcome.CANCELLED, Usage(PROMPT, 3))


async def test_what_waited_in_vain_used_nothing(engines: list[FakeEngine]) -> None:
    engines[0].granting = False
    limits = PipelineLimits(request_timeout=0.3)
    async with running_gateway(engines[:1], GatewaySettings(limits=limits)) as gateway:
        with pytest.raises(DeadlineExceeded):
            await gateway.pipeline.run(ask(), Heard())
        found = await kept(gateway, engines[:1])
        assert (found.tally.sent, found.delivered, found.row.computed) == ({}, Usage(0, 0), 0)


async def test_what_the_full_queue_refused_has_no_row(engines: list[FakeEngine]) -> None:
    engines[0].granting = False
    async with running_gateway(engines[:1], GatewaySettings(max_jobs=1)) as gateway:
        waiting = asyncio.create_task(gateway.pipeline.run(ask("waits"), Heard()))
        await eventually(lambda: gateway.dispatcher.waiting == 1)
        with pytest.raises(Overloaded):
            await gateway.pipeline.run(ask("refused"), Heard())
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await gateway.settles()
        rows = {entry.request_id: entry.tally.row() for entry in gateway.ledger.entries}
        assert rows.keys() == {"waits", "refused"}
        assert rows["refused"] is None


async def test_nothing_is_sent_that_is_not_in_the_journal(engines: list[FakeEngine]) -> None:
    async with running_gateway(engines) as gateway:
        gateway.ledger.write = lambda line: False  # type: ignore[method-assign]
        with pytest.raises(GatewayError, match="disk"):
            await gateway.pipeline.run(ask(), Heard())
        assert not [submit for engine in engines for submit in engine.submits]
        await gateway.settles()
        assert gateway.quota.settled == [0]
