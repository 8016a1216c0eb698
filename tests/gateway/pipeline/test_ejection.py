"""Engines that fail, drain or serve other bases, and prompts that begin alike, over real gRPC."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from chorus_gateway.errors import Internal
from chorus_gateway.routing.health import EjectionRules, Health
from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.gateway.support.answers import Heard, ask
from tests.gateway.support.fake_engine import FakeEngine, Reply
from tests.gateway.support.gateway import Gateway, eventually, running_gateway
from tests.gateway.support.tokenizers import END, bundle, ids

BROKEN = pb.Error(code=pb.ERROR_CODE_INTERNAL, message="a step failed")
RULES = EjectionRules(in_a_row=3, burst=0.0, first_away=0.3)
TEXT = "the quick brown fox jumps over the lazy dog, "


async def answer(gateway: Gateway, name: str = "r", **fields: object) -> str:
    heard = Heard()
    await gateway.pipeline.run(ask(name, **fields), heard)
    return heard.text


def judge_strictly(gateway: Gateway) -> None:
    for member in gateway.pool.members("b" * 64):
        member.health = Health(RULES)


async def fill(gateway: Gateway, count: int, name: str) -> Counter[str]:
    """What so many requests, one after the other and two at a time, are answered: text, or the error's class."""

    async def one(at: int) -> str:
        try:
            return await answer(gateway, f"{name}{at}")
        except Internal:
            return "failed"

    results = [await asyncio.gather(one(at), one(at + count)) for at in range(count)]
    return Counter(each for pair in results for each in pair)


async def test_an_engine_that_fails_is_ejected_tried_and_taken_back(engines: list[FakeEngine]) -> None:
    bad = engines[0]
    well = bad.replier
    async with running_gateway(engines) as gateway:
        judge_strictly(gateway)
        bad.replier = lambda submit: Reply([], error=BROKEN)
        results = await fill(gateway, 10, "broken")
        assert results["failed"] <= RULES.in_a_row + 1, "then it gets nothing more, beside what was under way"
        [member] = [each for each in gateway.pool.members("b" * 64) if each.health.ejected]
        assert member.id == "first"
        tried = len(bad.submits)
        await eventually(lambda: member.health.admits)
        results = await fill(gateway, 5, "tried")
        # One request tried it; on a slow machine another one did once the next time was over.
        assert 1 <= results["failed"] <= 3
        assert len(bad.submits) == tried + results["failed"]
        bad.replier = well
        await eventually(lambda: member.health.admits)
        assert (await fill(gateway, 5, "back"))["failed"] == 0
        assert not member.health.ejected
        assert (await fill(gateway, 5, "both"))["first"] > 0
        await gateway.settles()


async def test_the_only_engine_is_not_ejected(engines: list[FakeEngine]) -> None:
    engine = engines[0]
    async with running_gateway([engine]) as gateway:
        judge_strictly(gateway)
        engine.replier = lambda submit: Reply([], error=BROKEN)
        for at in range(6):
            with pytest.raises(Internal):
                await answer(gateway, f"r{at}")
        assert len(engine.submits) == 6
        await gateway.settles()


async def test_a_silent_engine_counts_as_one_that_hangs(engines: list[FakeEngine]) -> None:
    async with running_gateway(engines) as gateway:
        for engine in engines:
            engine.replier = lambda submit: Reply([], hang=True)
        gateway.pool._silence = 0.3
        task = asyncio.create_task(answer(gateway))
        await eventually(lambda: any(engine.running for engine in engines))
        mute = next(engine for engine in engines if engine.running)
        other = next(engine for engine in engines if engine is not mute)
        other.replier = lambda submit: Reply([*ids("saved"), END])
        assert await asyncio.wait_for(task, 60) == "saved"
        assert [submit.attempt for submit in other.submits] == [1]
        await gateway.settles()


async def test_prompts_that_begin_alike_share_an_engine(engines: list[FakeEngine]) -> None:
    async with running_gateway(engines) as gateway:
        prompts = [f"{at} {TEXT * 4}" for at in range(6)]
        first = {each: await answer(gateway, f"first{at}", prompts=(each,)) for at, each in enumerate(prompts)}
        # Others come in between, so that the engines' loads are not what decides.
        for turn in range(3):
            for at, each in enumerate(prompts):
                again = answer(gateway, f"again{turn}-{at}", prompts=(f"{each} and then {turn}",))
                texts = await asyncio.gather(again, answer(gateway, f"other{turn}-{at}"))
                assert texts[0] == first[each]
        await gateway.settles()


async def test_a_beginning_that_all_share_does_not_burden_one_engine(engines: list[FakeEngine]) -> None:
    for engine in engines:
        name = engine.description.engine_id
        engine.replier = lambda submit, name=name: Reply([*ids(name), END], pause=0.05)  # type: ignore[misc]
    async with running_gateway(engines) as gateway:
        await answer(gateway, "warm", prompts=(TEXT * 4,))
        texts = await asyncio.gather(*(answer(gateway, f"r{at}", prompts=(TEXT * 4 + str(at),)) for at in range(12)))
        assert min(Counter(texts).values()) >= 3
        assert len(set(texts)) == 2
        await gateway.settles()


@pytest.fixture
async def other_base() -> AsyncIterator[FakeEngine]:
    engine = FakeEngine(
        bundle(),
        replier=lambda submit: Reply([*ids("other"), END]),
        engine_id="other",
        model="b2",
        model_digest="c" * 64,
    )
    yield await engine.start()
    await engine.stop()


async def test_two_bases_and_an_adapter_on_each(engines: list[FakeEngine], other_base: FakeEngine) -> None:
    async with running_gateway([*engines, other_base]) as gateway:
        gateway.models.adapters["b2@shout"] = "e" * 64
        names = ["chorus-demo", "chorus-demo@shout", "b2", "b2@shout"]
        texts = await asyncio.gather(*(answer(gateway, f"r{at}", model=name) for at, name in enumerate(names * 3)))
        assert all((text == "other") == ("b2" in name) for name, text in zip(names * 3, texts, strict=True))
        assert Counter(submit.adapter_digest for submit in other_base.submits) == {"": 3, "e" * 64: 3}
        assert all(submit.adapter_digest != "e" * 64 for engine in engines for submit in engine.submits)
        await gateway.settles()
