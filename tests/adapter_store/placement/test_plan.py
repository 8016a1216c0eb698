"""Single decisions, told as stories. The rows of an engine are 8, of which one adapter should have 4."""

from dataclasses import replace

from chorus_adapter_store.placement.fleet import Command, Demand, Held, Verb
from chorus_adapter_store.placement.plan import plan
from chorus_adapter_store.placement.situation import PinWish, Situation, Warming
from chorus_adapter_store.values import Tier
from tests.adapter_store.placement.fleet_model import ModelEngine, World, busy, file


def world(*engines: ModelEngine, adapters: int = 4) -> World:
    return World(list(engines), {f"d{n}": file(f"d{n}") for n in range(adapters)})


def said(commands: "list[Command] | tuple[Command, ...]") -> list[tuple[str, str, str, str]]:
    return [(each.engine_id, each.verb.value, each.digest, each.tier.value) for each in commands]


def test_an_adapter_with_demand_lives_somewhere() -> None:
    small = world(ModelEngine("a"), ModelEngine("b"))
    small.demand = {"d0": busy(1)}
    assert said(small.settle()) == [("a", "prefetch", "d0", "gpu")]


def test_where_it_lives_it_stays() -> None:
    small = world(ModelEngine("a"), ModelEngine("b", host={"d0": 2}))
    small.demand = {"d0": busy(1)}
    assert small.settle() == []


def test_it_goes_where_least_is_going_on() -> None:
    small = world(ModelEngine("a", gpu={"d1": 2}), ModelEngine("b"))
    small.demand = {"d0": busy(1), "d1": busy(3)}
    assert said(small.settle()) == [("b", "prefetch", "d0", "gpu")]


def test_it_does_not_displace_what_others_want() -> None:
    small = world(ModelEngine("a", slots=1, host_bytes=2, host={"d1": 2}))
    small.demand = {"d0": busy(1), "d1": busy(1)}
    assert small.settle() == []


def test_what_was_asked_for_a_while_ago_is_kept_in_host_memory() -> None:
    small = world(ModelEngine("a"))
    small.demand = {"d0": Demand(in_flight_long=0.1, arriving_long=0.1)}
    assert said(small.settle()) == [("a", "prefetch", "d0", "host")]


def test_a_hot_adapter_spreads_and_shrinks_again() -> None:
    hot = world(*(ModelEngine(name, slots=2) for name in "abc"))
    hot.demand = {"d0": busy(3)}
    hot.settle()
    assert len(hot.holders("d0", Tier.GPU)) == 1
    hot.demand = {"d0": busy(9)}
    began = hot.now
    hot.tick()
    assert len(hot.holders("d0", Tier.GPU)) == 3
    assert hot.now - began < 1
    hot.demand = {"d0": busy(1)}
    for engine in hot.engines:  # others fill the engines, so that room is short
        engine.gpu["d1"] = 2
        engine.leased = frozenset({"d0", "d1"})
    while hot.now - began < 25:
        assert hot.tick() == ()
    drained = [hot.tick() for _ in range(20)]
    assert sorted(said([each for tick in drained for each in tick])) == [
        ("b", "drain", "d0", "gpu"),
        ("c", "drain", "d0", "gpu"),
    ]


def test_surplus_copies_stay_where_there_is_room() -> None:
    roomy = world(ModelEngine("a", gpu={"d0": 2}), ModelEngine("b", gpu={"d0": 2}))
    roomy.demand = {"d0": busy(1)}
    roomy.now += 100
    assert roomy.settle() == []
    assert roomy.holders("d0") == ["a", "b"]


def test_a_new_generation_is_warm_where_the_one_before_is() -> None:
    fleet = world(ModelEngine("a", gpu={"d0": 2}), ModelEngine("b", host={"d0": 2}), ModelEngine("c"))
    fleet.situation = Situation(0, warmings=(Warming("d1", "d0"),))
    assert said(fleet.settle()) == [("a", "prefetch", "d1", "gpu"), ("b", "prefetch", "d1", "host")]


def test_what_is_published_first_is_warm_on_one_engine() -> None:
    fleet = world(ModelEngine("a"), ModelEngine("b"))
    fleet.situation = Situation(0, warmings=(Warming("d1"),))
    assert said(fleet.settle()) == [("a", "prefetch", "d1", "host")]


def test_an_engine_that_has_just_started_is_given_what_is_used_most() -> None:
    fleet = world(ModelEngine("a", started_at=990.0, host_bytes=8))
    fleet.situation = Situation(0, recent=("d3", "d1", "d2"))
    assert said(fleet.settle()) == [("a", "prefetch", "d3", "host"), ("a", "prefetch", "d1", "host")]


def test_pins_are_held_whatever_the_demand() -> None:
    fleet = world(ModelEngine("a"), ModelEngine("b"))
    fleet.pins = (PinWish(file("d0"), Tier.GPU, 1), PinWish(file("d1"), Tier.HOST))
    assert said(fleet.settle()) == [("a", "pin", "d0", "gpu"), ("a", "pin", "d1", "host"), ("b", "pin", "d1", "host")]
    fleet.pins = (PinWish(file("d1"), Tier.HOST, 1),)
    assert said(fleet.settle()) == [("a", "unpin", "d0", "gpu"), ("b", "unpin", "d1", "host")]


def test_a_pin_changes_its_tier() -> None:
    fleet = world(ModelEngine("a"))
    fleet.pins = (PinWish(file("d0"), Tier.GPU),)
    fleet.settle()
    fleet.pins = (PinWish(file("d0"), Tier.HOST),)
    assert said(fleet.settle()) == [("a", "unpin", "d0", "gpu"), ("a", "pin", "d0", "host")]


def test_a_pin_that_does_not_fit_is_not_sent() -> None:
    fleet = world(ModelEngine("a", pool=4))
    fleet.pins = (PinWish(file("d0"), Tier.GPU), PinWish(file("d1"), Tier.GPU))
    assert said(fleet.settle()) == [("a", "pin", "d0", "gpu")]


def test_a_pin_that_one_engine_refuses_goes_to_another() -> None:
    fleet = world(ModelEngine("a"), ModelEngine("b"))
    fleet.pins = (PinWish(file("d0"), Tier.GPU, 1),)
    refused = frozenset({Command("a", Verb.PIN, "d0", Tier.GPU)})
    assert said(plan(replace(fleet.see(), resting=refused)).commands) == [("b", "pin", "d0", "gpu")]


def test_what_is_gone_is_unpinned_and_drained_when_nobody_uses_it() -> None:
    engine = ModelEngine("a", gpu={"old": 2}, pinned={"old": Tier.GPU}, leased=frozenset({"old"}))
    fleet = world(engine)
    fleet.situation = Situation(0, gone=frozenset({"old"}))
    assert said(fleet.settle()) == [("a", "unpin", "old", "gpu")]
    engine.leased = frozenset()
    assert said(fleet.settle()) == [("a", "drain", "old", "host")]
    assert fleet.holders("old") == []


def test_what_only_a_leaving_or_hanging_engine_has_is_kept_elsewhere() -> None:
    for leaving in (
        ModelEngine("a", draining=True),
        ModelEngine("a", drained=True),
        ModelEngine("a", stalled=True),
    ):
        leaving.gpu, leaving.host = {"d0": 2, "d1": 2}, {"d2": 2}
        fleet = world(leaving, ModelEngine("b", host={"d1": 2}))
        situation = fleet.see()
        (first, second) = situation.engines
        used = {digest: replace(held, last_use=995.0) for digest, held in first.held.items() if digest != "d2"}
        long_ago = {"d2": Held("d2", Tier.HOST, bytes=2, last_use=1.0)}
        situation = replace(situation, engines=(replace(first, held={**used, **long_ago}), second))
        assert said(plan(situation).commands) == [("b", "prefetch", "d0", "host")]


def test_nothing_is_told_to_engines_that_leave_or_hang_or_serve_no_adapters() -> None:
    fleet = world(
        ModelEngine("a", draining=True),
        ModelEngine("b", stalled=True),
        ModelEngine("c", slots=0),
        ModelEngine("d", drained=True),
    )
    fleet.demand = {"d0": busy(20)}
    fleet.pins = (PinWish(file("d1"), Tier.GPU),)
    assert fleet.settle() == []


def test_an_adapter_of_a_higher_rank_than_an_engine_takes_is_not_sent_there() -> None:
    fleet = World([ModelEngine("a", max_lora_rank=8), ModelEngine("b")], {"d0": file("d0", rank=16)})
    fleet.demand = {"d0": busy(20)}
    fleet.pins = (PinWish(file("d0", rank=16), Tier.HOST),)
    fleet.settle()
    assert fleet.holders("d0") == ["b"]


def test_an_adapter_with_outer_modules_is_not_sent_to_engines_without() -> None:
    outer = frozenset({"lm_head"})
    engines = [
        ModelEngine("a", outer_modules=frozenset()),
        ModelEngine("b", outer_modules=frozenset({"embed_tokens"})),
        ModelEngine("c", outer_modules=outer),
    ]
    fleet = World(engines, {"d0": file("d0", outer_modules=outer)})
    fleet.demand = {"d0": busy(20)}
    fleet.pins = (PinWish(file("d0", outer_modules=outer), Tier.HOST),)
    fleet.settle()
    assert fleet.holders("d0") == ["c"]


def test_what_is_on_its_way_is_not_said_again_and_takes_its_room() -> None:
    fleet = world(ModelEngine("a", slots=1, host_bytes=4), ModelEngine("b", slots=1, host_bytes=4))
    fleet.demand = {"d0": busy(1), "d1": busy(0.5)}
    sent = Command("a", Verb.PREFETCH, "d0", Tier.GPU)
    assert fleet.tick() == ()
    decided = plan(replace(fleet.see(), pending=frozenset({sent})))
    assert said(decided.commands) == [("b", "prefetch", "d1", "gpu")]


def test_an_engine_has_few_commands_at_once() -> None:
    fleet = world(ModelEngine("a", slots=40, pool=400, host_bytes=400), adapters=30)
    fleet.demand = {digest: busy(1) for digest in fleet.files}
    assert [len(fleet.tick()) for _ in range(6)] == [0, 8, 8, 8, 6, 0]
