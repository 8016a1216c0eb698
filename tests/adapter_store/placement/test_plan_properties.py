"""What holds for whatever engines, adapters and demand there are."""

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from chorus_adapter_store.placement.fleet import Command, Verb
from chorus_adapter_store.placement.pins import merge
from chorus_adapter_store.placement.plan import RULES, plan
from chorus_adapter_store.placement.situation import PinWish, Situation, Warming
from chorus_adapter_store.values import Tier
from tests.adapter_store.placement.fleet_model import ModelEngine, World, busy, file
from tests.support.often import often

DIGESTS = [f"d{n}" for n in range(8)]
TIERS = st.sampled_from(Tier)
DIGEST = st.sampled_from(DIGESTS)
V = TypeVar("V")


@st.composite
def engines(draw: st.DrawFn, name: str) -> ModelEngine:
    return ModelEngine(
        name,
        slots=draw(st.integers(0, 5)),
        pool=draw(st.integers(1, 16)),
        host_bytes=draw(st.integers(1, 24)),
        max_lora_rank=draw(st.sampled_from([8, 64])),
        draining=draw(st.sampled_from([False, False, False, True])),
        stalled=draw(st.sampled_from([False, False, False, True])),
        started_at=draw(st.sampled_from([0.0, 1000.0])),
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Engines that begin with something of what fits."""
    files = {digest: file(digest, draw(st.integers(1, 5)), draw(st.sampled_from([4, 16]))) for digest in DIGESTS}
    world = World([draw(engines(name)) for name in "abc"[: draw(st.integers(1, 3))]], files)
    for engine in world.engines:
        for digest in draw(st.lists(DIGEST, unique=True, max_size=4)):
            size = files[digest].size
            if (
                draw(st.booleans())
                and len(engine.gpu) < engine.slots
                and sum(engine.gpu.values()) + size <= engine.pool
            ):
                engine.gpu[digest] = size
            elif sum(engine.host.values()) + size <= engine.host_bytes:
                engine.host[digest] = size
        engine.leased = frozenset(draw(st.lists(st.sampled_from(sorted(engine.gpu)), max_size=2)) if engine.gpu else ())
    loads = st.sampled_from([0.0, 0.2, 1.0, 4.5, 9.0, 50.0])
    world.demand = {digest: busy(draw(loads)) for digest in draw(st.lists(DIGEST, unique=True))}
    wishes = st.builds(PinWish, DIGEST.map(files.__getitem__), TIERS, st.integers(0, 3))
    world.pins = tuple(draw(st.lists(wishes, max_size=3)))
    world.situation = Situation(
        0.0,
        warmings=tuple(draw(st.lists(st.builds(Warming, DIGEST, DIGEST), max_size=3))),
        recent=tuple(draw(st.permutations(DIGESTS))[:3]),
    )
    gone = draw(DIGEST)
    if draw(st.booleans()) and gone not in world.demand and all(gone != wish.file.digest for wish in world.pins):
        del world.files[gone]
        world.situation = replace(world.situation, gone=frozenset({gone}))
    return world


@settings(max_examples=often(150), deadline=None)
@given(worlds())
def test_what_is_said_fits_what_engines_report_and_ends_in_silence(world: World) -> None:
    """The model's engines fail when they are told more than they have room for, or anything while they leave."""
    world.settle()
    assert world.tick() == ()


@settings(max_examples=often(150), deadline=None)
@given(worlds())
def test_demand_is_met_where_there_is_room(world: World) -> None:
    world.situation, world.pins = Situation(0.0), ()
    for engine in world.engines:
        engine.leased = frozenset()
    world.settle()
    for digest in world.demand.keys() & world.files.keys():
        if any(each.report().placeable and each.report().holds(digest) for each in world.engines):
            continue
        for engine in world.engines:
            able = engine.report().placeable and engine.max_lora_rank >= world.files[digest].rank
            wanted = sum(world.files[each].size for each in {**engine.host, **engine.gpu} if each in world.demand)
            assert not able or engine.host_bytes - wanted < world.files[digest].size


@settings(max_examples=often(150), deadline=None)
@given(worlds())
def test_pins_that_fit_are_held(world: World) -> None:
    for engine in world.engines:
        engine.leased = frozenset()
    world.settle()
    wishes = merge(world.pins)
    able = [each for each in world.engines if each.report().placeable]
    for wish in wishes:
        fitting = [each for each in able if _fits_whatever(each, wish, wishes)]
        held = [each for each in able if each.pinned.get(wish.file.digest) is wish.tier]
        assert len(held) >= min(len(fitting), wish.engines or len(able))
        assert len(held) <= (wish.engines or len(able))
    pinned = {digest for each in able for digest in each.pinned}
    assert pinned <= {wish.file.digest for wish in wishes}


def _fits_whatever(engine: ModelEngine, wish: PinWish, wishes: list[PinWish]) -> bool:
    """Whether all pins of its tier would fit the engine at once, and each its memory."""
    same = sum(each.file.size for each in wishes if each.tier is wish.tier)
    all_ = sum(each.file.size for each in wishes)
    most = engine.pool // 2 if wish.tier is Tier.GPU else engine.host_bytes // 2
    able = engine.max_lora_rank >= wish.file.rank
    return able and same <= most and all_ <= engine.host_bytes // 2 and len(wishes) <= engine.slots


@settings(max_examples=often(50), deadline=None)
@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_in_which_things_are_known_decides_nothing(world: World, shuffle: random.Random) -> None:
    situation = world.see()
    again = replace(
        situation,
        demand=_shuffled(situation.demand, shuffle),
        files=_shuffled(situation.files, shuffle),
        copies=_shuffled(situation.copies, shuffle),
        engines=tuple(replace(each, held=_shuffled(each.held, shuffle)) for each in situation.engines),
    )
    assert plan(situation) == plan(again) == plan(situation)


def _shuffled(values: Mapping[str, V], shuffle: random.Random) -> dict[str, V]:
    names = list(values)
    shuffle.shuffle(names)
    return {name: values[name] for name in names}


@settings(max_examples=often(50), deadline=None)
@given(
    worlds(), st.lists(st.builds(Command, st.sampled_from("abc"), st.sampled_from(Verb), DIGEST, TIERS), max_size=12)
)
def test_what_is_pending_counts_and_is_not_repeated(world: World, pending: list[Command]) -> None:
    decided = plan(replace(world.see(), pending=frozenset(pending)))
    for engine in world.engines:
        sent = {each for each in pending if each.engine_id == engine.name}
        said = [each for each in decided.commands if each.engine_id == engine.name]
        assert len(said) <= max(0, RULES.commands - len(sent))
        assert not {each.digest for each in sent} & {each.digest for each in said}
